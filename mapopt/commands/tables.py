"""Flags whose words are read here and not by tyro: tables, and values that are written in a form of their own.

A table takes names with values, such as ``--recipe.loss-settings margin 0.3 gradient exact``. tyro would take one from
a configuration file for a fixed set of flags; here, what is given on the command line takes the place of the file's.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from mapopt.errors import ConfigError
from mapopt.fields import Form, describe, form_of

Settings = TypeVar("Settings")


def read_tables(default: object, given: Mapping[str, Sequence[str]], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every value of a command that is read here: from its flag, else as the configuration file has it.

    Args:
        default: the command as the configuration file has it.
        given: the words that follow each flag.
        hints: the type of every flag.

    Raises:
        ConfigError: a name is without its value, or a value is not what it should be.
    """
    tables = {}
    for name, hint in hints.items():
        if _is_read_here(hint):
            table: Any = default
            for part in name.split("."):
                table = getattr(table, part)
            tables[name] = _read(name, given[name], hint) if name in given else table
    return tables


def _is_read_here(hint: Any) -> bool:
    return get_origin(hint) is dict or form_of(hint) is not None


def without_tables(arguments: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """Returns the words of a command line without those that belong to tables."""
    words, inside = [], False
    for word in arguments:
        if word.startswith("--"):
            inside = _is_read_here(hints.get(word[2:].partition("=")[0].replace("-", "_")))
        if not inside:
            words.append(word)
    return words


def replace_value(settings: Settings, name: str, value: Any) -> Settings:
    """Returns settings with another value at a name such as ``recipe.loss_settings``."""
    first, _, rest = name.partition(".")
    inner = replace_value(getattr(settings, first), rest, value) if rest else value
    return dataclasses.replace(settings, **{first: inner})  # type: ignore[type-var]


def _read(name: str, words: Sequence[str], hint: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    form = form_of(hint)
    if form is not None:
        return _formed(flag, words, form)
    form = form_of(get_args(hint)[1])
    if form is not None:
        return _read_forms(flag, words, form)
    if len(words) % 2:
        raise ConfigError(f"{flag} is '{' '.join(words)}': expected names with values, such as margin 0.3")
    return {
        key: _value(f"{flag} {key}", text, get_args(hint)[1]) for key, text in zip(words[::2], words[1::2], strict=True)
    }


def _formed(what: str, words: Sequence[str], form: Form) -> Any:
    """Returns the value that words stand for."""
    try:
        return form.read(words)
    except ValueError:
        raise ConfigError(f"{what} is '{' '.join(words)}': expected {form.flag}") from None


def _read_forms(flag: str, words: Sequence[str], form: Form) -> dict[str, Any]:
    """Returns names with values of several words each."""
    values: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.isidentifier():
            name = word
            values[name] = []
        elif not name:
            raise ConfigError(f"{flag} is '{' '.join(words)}': expected names, each with {form.flag}")
        else:
            values[name].append(word)
    return {name: _formed(f"{flag} {name}", own, form) for name, own in values.items()}


def _value(what: str, text: str, hint: Any) -> Any:
    """Returns the value of the first type that the text can be read as."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for member in members:
        if member is bool and text in ("True", "False"):
            return text == "True"
        if member is not bool:
            try:
                return member(text)
            except ValueError:
                continue
    raise ConfigError(f"{what} is '{text}': expected {describe(hint, flag=True)}")
