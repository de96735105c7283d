"""Applies what a search chose to a method: dotted names become the fields of its recipe and of its controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mapopt.errors import ConfigError, unknown_name
from mapopt.settings import check_values, from_mapping, to_mapping

Settings = TypeVar("Settings")

SECTIONS = ("recipe", "controller")
"""The parts of a method that are settings themselves; its knobs are a mapping."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from a method as it is configured."""

    knobs: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    controller: dict[str, Any] = field(default_factory=dict)


def changes_of(method: Any, setting: Mapping[str, Any]) -> Changes:
    """Returns what a setting changes in a method.

    Args:
        method: with its `recipe` and its `controller`.
        setting: dotted name -> value; a name without a point changes nothing.

    Raises:
        ConfigError: a name is that of no field.
    """
    knobs: dict[str, float] = {}
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, value in setting.items():
        section, _, rest = name.partition(".")
        if section == "knobs":
            knobs[rest] = value
        elif rest:
            _find_section(section, name)
            _change(getattr(method, section), sections[section], rest.split("."), name, value)
    return Changes(knobs=knobs, **sections)


def overridden(settings: Settings, changes: Mapping[str, Any], where: str) -> Settings:
    """Returns settings with other values.

    Args:
        settings: a dataclass, with dataclasses for its sections.
        changes: field -> value, or for a section a mapping of what changes in it.
        where: what messages call it.

    Raises:
        ConfigError: the changed settings are refused.
    """
    if not changes:
        return settings
    changed: Settings = from_mapping(type(settings), _merged(settings, changes), where)
    return changed


def check_name(method: Any, name: str) -> None:
    """Raises ConfigError unless a dotted name of a space is that of a field of a method's recipe or controller."""
    section, _, rest = name.partition(".")
    if rest and section != "knobs":
        _find_section(section, name)
        _field_of(getattr(method, section), rest.split("."), name)


def check_value(method: Any, name: str, value: Any) -> None:
    """Raises ConfigError unless a value has the type of the field that it is chosen for."""
    section, _, rest = name.partition(".")
    if section not in SECTIONS or not rest:
        return
    owner, number = _field_of(getattr(method, section), rest.split("."), name)
    field_name, *inner = rest.split(".")[number:]
    if any(part.isdigit() for part in inner):
        return  # the other number of the pair is not known here
    check_values(type(owner), {field_name: _put(None, inner, value)}, f"{name} in the search space")


def _find_section(section: str, name: str) -> None:
    if section not in SECTIONS:
        raise ConfigError(f"{name} in the search space: {unknown_name('part', section, ['knobs', *SECTIONS])}")


def _field_of(settings: Any, parts: list[str], name: str) -> tuple[Any, int]:
    """Returns the dataclass that a name leads to, and which part of the name is its field.

    What follows that part is meant inside of the field: a key of a mapping, or a position of a pair.
    """
    for number, part in enumerate(parts):
        known = [item.name for item in dataclasses.fields(settings) if item.init]
        if part not in known:
            raise ConfigError(f"{name} in the search space: {unknown_name('field', part, known)}")
        value = getattr(settings, part)
        if dataclasses.is_dataclass(value) and number + 1 < len(parts):
            settings = value
            continue
        if number + 1 < len(parts) and isinstance(value, str | int | float):
            raise ConfigError(f"{name} in the search space: {part} is a single value, so name {part} itself")
        return settings, number
    raise AssertionError("a name has at least one part")


def _change(settings: Any, changes: dict[str, Any], parts: list[str], name: str, value: Any) -> None:
    """Notes the change of one field, in the section that it belongs to."""
    owner, number = _field_of(settings, parts, name)
    for part in parts[:number]:
        changes = changes.setdefault(part, {})
    last = parts[number]
    changes[last] = _put(changes.get(last, to_mapping(getattr(owner, last))), parts[number + 1 :], value)


def _put(inside: Any, parts: list[str], value: Any) -> Any:
    """Returns plain values with another one at a place in them: keys of mappings and positions of pairs."""
    if not parts:
        return value
    first, *rest = parts
    if first.isdigit() and not isinstance(inside, Mapping):
        # A number that nobody gives stays None, which no pair takes.
        listed = list(inside) if isinstance(inside, list | tuple) else []
        listed += [None] * (int(first) + 1 - len(listed))
        listed[int(first)] = _put(listed[int(first)], rest, value)
        return listed
    mapping = inside if isinstance(inside, Mapping) else {}
    return {**mapping, first: _put(mapping.get(first), rest, value)}


def _merged(settings: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns plain values, those of sections merged and any others replaced."""
    content: dict[str, Any] = to_mapping(settings)
    for name, value in changes.items():
        section = getattr(settings, name, None)
        nested = dataclasses.is_dataclass(section) and isinstance(value, Mapping)
        content[name] = _merged(section, value) if nested else value
    return content
