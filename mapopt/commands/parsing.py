"""Reads a command from its flags and a configuration file, and says in one line what is wrong with them.

tyro makes the flags from the dataclass. Its errors are boxes of many lines; what a user has to know is which flag, what
was given and what was expected, so those are looked up here. A switch is given by its name alone, or with True or
False: what a file turns on, a flag can turn off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import tyro

from mapopt.commands.command import Command
from mapopt.commands.help import help_text
from mapopt.commands.other_words import translated
from mapopt.commands.tables import read_tables, replace_value, without_tables
from mapopt.errors import ConfigError
from mapopt.fields import describe, leaves
from mapopt.former_names import translate
from mapopt.paths import check_path
from mapopt.settings import from_mapping, load_settings

AnyCommand = TypeVar("AnyCommand", bound=Command)

MARKERS = (tyro.conf.FlagConversionOff, tyro.conf.HelptextFromCommentsOff)
"""Every flag has a value for tyro, True and False included, and it reads no comments."""


def parse(cls: type[AnyCommand], arguments: Sequence[str], *, prog: str) -> AnyCommand:
    """Builds a command.

    Args:
        cls: which one.
        arguments: what follows its name on the command line. ``--config`` is read first, wherever it stands. A section
            that is chosen by its `name` may be written for it: ``--family rescue`` for ``--family.name rescue``.
        prog: the program's and the command's name, for the help.

    Raises:
        ConfigError: a flag or a key is unknown or missing, or a value is not what it should be.
        SystemExit: with status 0, after ``--help``.
    """
    if cls.positional and arguments and not arguments[0].startswith("-"):
        arguments = [f"--{cls.positional}", *arguments]
    hints = {".".join(path): hint for path, hint in leaves(cls)}
    arguments = [_lengthen(token, hints) for token in arguments]
    given = _split(arguments, hints, prog)
    default = _defaults(cls, given, prog)
    if "help" not in given:
        for name in _missing(default):
            if name not in given:
                raise ConfigError(f"{_flag(name)} is missing: give it. Expected {describe(hints[name], flag=True)}.")
    tables = read_tables(default, given, hints)
    if "help" in given:
        print(help_text(cls, default, prog))
        raise SystemExit(0)
    for name in tables:
        default = replace_value(default, name, {})
    if "recipe.detector" in given:
        # What stands there is the default of another detector.
        default = replace_value(default, "recipe", default.recipe.reopened())  # type: ignore[attr-defined]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            words = _spell_switches(without_tables(arguments, hints), hints)
            built = tyro.cli(cls, args=words, default=default, prog=prog, config=MARKERS)
    except SystemExit:
        raise ConfigError(_shorten(complaint.getvalue(), given, hints)) from None
    sys.stderr.write(complaint.getvalue())
    for name, table in tables.items():
        built = replace_value(built, name, table) if table else built
    for name in hints:
        _check_paths(built, name)
    return built


def _check_paths(command: Command, name: str) -> None:
    """Raises ConfigError where a flag is a path that no operating system takes."""
    value: Any = command
    for part in name.split("."):
        value = getattr(value, part, None)
    for item in value if isinstance(value, tuple | list) else [value]:
        if isinstance(item, Path):
            try:
                check_path(item)
            except ConfigError as error:
                raise ConfigError(f"{_flag(name)}: {error}") from None


def _spell_switches(arguments: Sequence[str], hints: dict[str, Any]) -> list[str]:
    """Returns the words with True after every switch that stands alone."""
    words: list[str] = []
    for token, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        words.append(token)
        if _is_switch(token, hints) and following.startswith("--"):
            words.append("True")
    return words


def _is_switch(token: str, hints: dict[str, Any]) -> bool:
    return token.startswith("--") and hints.get(token[2:].replace("-", "_")) is bool


def _lengthen(token: str, hints: dict[str, Any]) -> str:
    """Returns a section's flag as that of its name."""
    written, equals, value = token.partition("=")
    name = written.removeprefix("--").replace("-", "_")
    short = written.startswith("--") and name not in hints and f"{name}.name" in hints
    return f"{written}.name{equals}{value}" if short else token


def _split(arguments: Sequence[str], hints: dict[str, Any], prog: str) -> dict[str, list[str]]:
    """Returns what was given to each flag; the last one counts."""
    given: dict[str, list[str]] = {}
    name = ""
    for token in arguments:
        if token in ("-h", "--help"):
            given["help"] = []
        elif token.startswith("--"):
            written, equals, value = token[2:].partition("=")
            name = written.replace("-", "_")
            if name not in hints:
                raise ConfigError(f"unknown flag '--{written}'{_suggest(name, hints)} `{prog} --help` lists them.")
            if name in given and name == "config":
                raise ConfigError("--config is given twice: give one file, and the rest as flags")
            given[name] = [value] if equals else []
        elif not name:
            raise ConfigError(f"'{token}' was given without a flag before it: `{prog} --help` lists the flags.")
        else:
            given[name].append(token)
    for name, values in given.items():
        if name == "help":
            continue
        limit = _max_values(hints[name])
        if limit is not None and len(values) > limit:
            raise ConfigError(f"{_flag(name)} is '{' '.join(values)}': expected {_describe(hints[name])}")
    return given


def _max_values(hint: Any) -> int | None:
    """Returns how many values a flag takes at the most; None if any number."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _max_values(args[0])
    if origin in (Union, types.UnionType):
        members = [_max_values(member) for member in args]
        return None if None in members else max(1, *(number for number in members if number is not None))
    if origin is tuple and args[-1] is not Ellipsis:
        members = [_max_values(member) for member in args]
        return None if None in members else sum(number or 1 for number in members)
    if origin in (tuple, list, dict):
        return None
    return 1


def _describe(hint: Any) -> str:
    return "no value, or False" if hint is bool else describe(hint, flag=True)


def _suggest(given: str, known: dict[str, Any]) -> str:
    """Returns a question about the nearest flag: one in a section by its own name, such as --lr for --knobs.lr."""
    said = translated(given, known)
    if said:
        return said
    section, _, last = given.rpartition(".")
    switch = f"{section}.{last.removeprefix('no_')}".lstrip(".")
    if last.startswith("no_") and known.get(switch) is bool:
        return f": did you mean '{_flag(switch)} False'?"
    inner = [name for name in known if name.rpartition(".")[2] == given.rpartition(".")[2]]
    near = inner or difflib.get_close_matches(given, list(known), n=1)
    siblings = [name.rpartition(".")[2] for name in known if name.startswith(f"{section}.")]
    if f"{section}.own" in known and not inner and not difflib.get_close_matches(last, siblings, n=1):
        return f": the knob '{last}' of a part of your own is set by {_flag(f'{section}.own')} {last} VALUE."
    return f": did you mean '{_flag(near[0])}'?" if near else "."


def _defaults(cls: type[AnyCommand], given: dict[str, list[str]], prog: str) -> AnyCommand:
    """Returns the command as the configuration file has it; what only flags can still give is `tyro.MISSING`."""
    if "config" not in given or not cls.config_holds_flags:
        return from_mapping(cls, {}, prog, missing=tyro.MISSING)
    if len(given["config"]) != 1:
        raise ConfigError(f"--config is '{' '.join(given['config'])}': expected one path of a YAML file")
    path = given["config"][0]
    return from_mapping(cls, translate(load_settings(path), "flags"), path, missing=tyro.MISSING)


def _missing(settings: Any, prefix: str = "") -> list[str]:
    """Returns the names of the values that nothing has given."""
    names = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is tyro.MISSING:
            names.append(prefix + field.name)
        elif dataclasses.is_dataclass(value):
            names += _missing(value, f"{prefix}{field.name}.")
    return names


def _shorten(box: str, given: dict[str, list[str]], hints: dict[str, Any]) -> str:
    """Returns what is wrong as one line: from the flag that tyro's box names, else from the box's own first words."""
    for written in re.findall(r"--([\w.-]+)", box):
        name = written.replace("-", "_")
        if name in given and name in hints:
            value = " ".join(given[name])
            return f"{_flag(name)} is '{value}': expected {_describe(hints[name])}"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip(" │") for line in box.splitlines()]
    inside = [line for line in lines if not line.startswith(("╭", "╰"))]
    end = next((number for number, line in enumerate(inside) if line.startswith("──")), len(inside))
    return " ".join(inside[:end]) or "the flags cannot be read"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
