"""Turns plain values, as a YAML or JSON file holds them, into settings that are checked, and back.

Settings are frozen dataclasses. A wrong key or a wrong type is an error that names its place in the file and the
nearest key there is, because a misspelt setting that is quietly ignored costs a whole run.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from mapopt.documents import parse_yaml
from mapopt.errors import ConfigError, MapoptError, shown, unknown_name
from mapopt.fields import PLAIN_TYPES, bare_type, describe, fields_of, form_of
from mapopt.paths import check_path, read_bytes

Built = TypeVar("Built")

MAX_YAML = 16 * 2**20
"""Bytes of a file of settings."""

_ABSENT = object()


def from_mapping(cls: type[Built], mapping: object, where: str, *, missing: object = _ABSENT) -> Built:
    """Builds nested dataclasses from plain values.

    Args:
        cls: a dataclass.
        mapping: its fields by name (hyphens count as underscores), nested as the dataclasses are; None for no field.
        where: what the messages call the source, such as the file's path.
        missing: stands in for required fields that are absent; without it they are errors.

    Raises:
        ConfigError: a key is unknown or missing, a value has the wrong type, or the dataclass itself refuses it.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Budget:
    ...     images: int
    ...     rounds: int = 20
    >>> from_mapping(Budget, {"images": 640}, "budget.yaml")
    Budget(images=640, rounds=20)
    >>> from_mapping(Budget, {"images": 640, "round": 5}, "budget.yaml")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: budget.yaml: unknown key 'round': did you mean 'rounds'? Known: images, rounds
    """
    return _build(cls, mapping, where, (), missing)


def check_values(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns values of some fields of a dataclass as the fields' types want them; dataclasses stay as they are.

    Args:
        cls: a dataclass.
        values: by the names of its fields.
        where: what the messages call the source.

    Raises:
        ConfigError: a value has the wrong type.

    >>> from mapopt.training import Budget
    >>> check_values(Budget, {"images": "many"}, "train")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: train: images is 'many': expected a whole number.
    """
    hints = {name: hint for name, hint, _ in fields_of(cls, orders=True)}
    checked = {}
    for name, value in values.items():
        value = _of_today(cls, name, value)
        kept = dataclasses.is_dataclass(value)
        checked[name] = value if kept else _convert(hints[name], value, where, (name,), _ABSENT)
    return checked


def to_mapping(settings: Any) -> Any:
    """Returns the plain values that `from_mapping` builds equal settings from."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        optional = {field.name for field in dataclasses.fields(settings) if field.metadata.get("empty") == "left out"}
        default = {
            field.name: field.default
            for field in dataclasses.fields(settings)
            if field.metadata.get("default") == "left out"
        }
        values = {name: getattr(settings, name) for name, _, _ in fields_of(type(settings))}
        return {
            name: to_mapping(value)
            for name, value in values.items()
            if (value or name not in optional) and (name not in default or value != default[name])
        }
    if isinstance(settings, Mapping):
        return {key: to_mapping(value) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [to_mapping(value) for value in settings]
    return str(settings) if isinstance(settings, Path) else settings


def to_yaml(settings: Any) -> str:
    """Returns settings as the text of a YAML file."""
    return yaml.safe_dump(to_mapping(settings), sort_keys=False, width=120)


def load_yaml(path: str | Path) -> Any:
    """Returns what a YAML file holds; nothing in it can execute code.

    Raises:
        ConfigError: the file is missing or unreadable, is not YAML, or has a key twice; the message names the line.
    """
    content = read_bytes(path, what="a YAML file with settings", limit=MAX_YAML, error=ConfigError)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text. Expected a YAML file with settings.") from None
    return parse_yaml(text, str(path))


def load_settings(path: str | Path) -> Any:
    """Returns what a YAML file holds, which is something.

    Raises:
        ConfigError: as `load_yaml`, or the file is empty.
    """
    content = load_yaml(path)
    if content is None or content == {}:
        raise ConfigError(f"{path}: is empty. Expected settings, such as `mapopt train --print-config` prints.")
    return content


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one mapping of ``outer.inner`` names.

    >>> flatten({"seed": 1, "recipe": {"loss": "ap", "auxiliary": {}}})
    {'seed': 1, 'recipe.loss': 'ap'}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _build(cls: type[Built], mapping: object, where: str, path: tuple[str, ...], missing: object) -> Built:
    """Builds one dataclass from its section of the file."""
    if not isinstance(mapping, Mapping | None):
        raise _wrong(where, path, mapping, cls)
    settings: Any = cls
    known = {name: (hint, required) for name, hint, required in fields_of(settings)}
    values: dict[str, Any] = {}
    for key, value in (mapping or {}).items():
        name = str(key).replace("-", "_")
        if name not in known:
            section = f"key in {'.'.join(path)}" if path else "key"
            raise ConfigError(f"{where}: {unknown_name(section, str(key), known)}")
        if name in values:
            raise ConfigError(f"{_place(where, (*path, name))} is given twice: give it once.")
        values[name] = _convert(known[name][0], _of_today(settings, name, value), where, (*path, name), missing)
    for name, (hint, required) in known.items():
        if name in values or not required:
            continue
        bare = bare_type(hint)
        if missing is _ABSENT:
            raise ConfigError(f"{_place(where, (*path, name))} is missing: give it. Expected {describe(hint)}.")
        is_section = isinstance(bare, type) and dataclasses.is_dataclass(bare)
        values[name] = _build(bare, None, where, (*path, name), missing) if is_section else missing
    try:
        return cls(**values)
    except MapoptError as error:
        raise ConfigError(f"{_place(where, path)}: {error}") from None


def _of_today(cls: Any, name: str, value: Any) -> Any:
    """Returns the value of a field as a file of today would hold it."""
    former = next(field.metadata.get("formerly") for field in dataclasses.fields(cls) if field.name == name)
    return former.get(value, value) if former and isinstance(value, bool | str | None) else value


def _convert(hint: Any, value: Any, where: str, path: tuple[str, ...], missing: object) -> Any:
    """Returns a value as its type wants it."""
    if form_of(hint) is not None:
        try:
            return _convert(bare_type(hint), value, where, path, missing)
        except ConfigError:
            # None of the ways to write it; which part of which is wrong says less than what is expected.
            raise _wrong(where, path, value, hint) from None
    hint = bare_type(hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value, where, path, missing)
    if origin is Literal:
        if value in args and type(value) in {type(choice) for choice in args}:
            return value
        raise _wrong(where, path, value, hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where, path, missing)
    if origin in (tuple, list):
        return _convert_list(hint, value, where, path, missing)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, path, value, hint)
        for key in value:
            if args[0] is str and not isinstance(key, str):
                raise ConfigError(f"{_place(where, path)} has the key {shown(key)}: expected a text. Put it in quotes.")
        return {
            _convert(args[0], key, where, path, missing): _convert(args[1], item, where, (*path, str(key)), missing)
            for key, item in value.items()
        }
    if hint is Path and isinstance(value, str | Path):
        try:
            return check_path(value)
        except ConfigError as error:
            raise ConfigError(f"{_place(where, path)}: {error}") from None
    if hint is float and type(value) is int:
        return float(value)
    if hint not in PLAIN_TYPES:
        raise TypeError(f"{'.'.join(path)}: a setting cannot be of type {hint}")
    if type(value) is not hint:
        raise _wrong(where, path, value, hint)
    return value


def _convert_union(hint: Any, value: Any, where: str, path: tuple[str, ...], missing: object) -> Any:
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        try:
            return _convert(members[0], value, where, path, missing)
        except ConfigError:
            # Only what is wrong with the value itself reads better with "or null" added.
            if isinstance(value, Mapping | list):
                raise
            raise _wrong(where, path, value, hint) from None
    for member in members:
        try:
            return _convert(member, value, where, path, missing)
        except ConfigError:
            continue
    raise _wrong(where, path, value, hint)


def _convert_list(hint: Any, value: Any, where: str, path: tuple[str, ...], missing: object) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    fixed = origin is tuple and args[-1] is not Ellipsis
    if not isinstance(value, list | tuple) or (fixed and len(value) != len(args)):
        raise _wrong(where, path, value, hint)
    hints: Sequence[Any] = args if fixed else [args[0]] * len(value)
    items = zip(hints, value, strict=True)
    return origin(_convert(each, item, where, (*path, str(i)), missing) for i, (each, item) in enumerate(items))


def _place(where: str, path: tuple[str, ...]) -> str:
    return f"{where}: {'.'.join(path)}" if path else where


def _wrong(where: str, path: tuple[str, ...], value: object, hint: Any) -> ConfigError:
    given = "null" if value is None else "a section with keys" if isinstance(value, Mapping) else shown(value)
    return ConfigError(f"{_place(where, path)} is {given}: expected {describe(hint)}.")
