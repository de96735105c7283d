"""The help of a command at the width of the terminal: what it does, every flag with its default, and examples.

A flag's text is the docstring of its field, so that what a reader of the code sees and what a user sees are the same.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import shutil
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from mapopt.commands.command import Command
from mapopt.fields import field_docs, form_of

MAX_WIDTH = 120
"""Columns that help fills: longer lines are hard to read."""

_INDENT = 26
"""Columns before the text of a flag; a longer flag stands on a line of its own."""

_HELP_FLAG = ("--help, -h", "Print this, and do nothing else.")


def help_text(cls: type[Command], default: Command, prog: str) -> str:
    """Returns the help of a command.

    Args:
        cls: which one.
        default: the command as the configuration file has it; its values are shown as defaults.
        prog: the program's and the command's name.
    """
    # The size of a terminal is what COLUMNS says, else what the terminal says, else 80.
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    given = f" [{cls.positional.upper()}]" if cls.positional else ""
    blocks = [f"usage: {prog}{given} [--flag value ...]", *_paragraphs(inspect.getdoc(cls) or "", width)]
    for title, flags in sections(default):
        lines = [_bold(line) for line in textwrap.wrap(title, width)]
        blocks.append("\n".join([*lines, *(_describe(flag, text, width) for flag, text in flags)]))
    if cls.examples:
        blocks.append("\n".join([_bold("examples:"), *(f"  {line}" for line in cls.examples)]))
    return "\n\n".join(blocks)


def _paragraphs(text: str, width: int) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield textwrap.fill(" ".join(paragraph.split()), width)


def sections(default: Command) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yields a title and the flags, each with its text, of a command and of every dataclass inside it."""
    waiting: list[tuple[str, str, Any]] = [("flags:", "", default)]
    while waiting:
        title, prefix, settings = waiting.pop(0)
        docs, hints = dict(field_docs(type(settings))), get_type_hints(type(settings), include_extras=True)
        flags, inner = [] if prefix else [_HELP_FLAG], []
        for field in dataclasses.fields(settings):
            if not field.init:
                continue
            value, text = getattr(settings, field.name), field.metadata.get("help", docs.get(field.name, ""))
            name = f"{prefix}{field.name}"
            if dataclasses.is_dataclass(value):
                inner.append((f"{_flag(name).removeprefix('--')}: {text}", f"{name}.", value))
                continue
            # A section is chosen by its own name: --family rescue is --family.name rescue.
            name = prefix.rstrip(".") if prefix and field.name == "name" else name
            words = _values(hints[field.name], switch=value is False)
            flags.append((f"{_flag(name)} {words}".rstrip(), _with_default(text, value)))
        waiting = inner + waiting
        if flags:
            yield title, flags


def _describe(flag: str, text: str, width: int) -> str:
    """Returns a flag and its text, which begins in a column of its own."""
    indent = min(_INDENT, width // 3)
    lines = [f"{'':{indent}}{line}" for line in textwrap.wrap(text, width - indent)]
    if len(flag) + 4 <= indent and lines:
        return "\n".join([f"  {_bold(flag)}{lines[0][2 + len(flag) :]}", *lines[1:]])
    return "\n".join([*(_bold(line) for line in textwrap.wrap(f"  {flag}", width, subsequent_indent="    ")), *lines])


def _with_default(text: str, value: Any) -> str:
    """Returns a flag's text and the value that it has where it is not given."""
    text = text.replace("``", "`")
    if value is tyro.MISSING:
        return f"{text} (required)".lstrip()
    if value is None or value is False or value in ("", (), {}, []):
        return text
    items = value if isinstance(value, tuple | list) else value.items() if isinstance(value, dict) else [value]
    return f"{text} (default: {' '.join(map(_word, items))})".lstrip()


def _word(item: Any) -> str:
    """Returns an item of a default as flags spell it: the entry of a table, a point of two numbers, or a value."""
    if not isinstance(item, tuple):
        return str(item)
    is_point = len(item) == 2 and all(isinstance(part, float) for part in item)
    return ":".join(f"{part:g}" for part in item) if is_point else " ".join(map(_word, item))


def _values(hint: Any, *, switch: bool = False) -> str:
    """Returns what may follow a flag, such as INT, or nothing after a switch that is off.

    >>> _values(tuple[int, int] | None), _values(tuple[Path, ...]), _values(Literal["sgd", "adamw"])
    ('INT INT|None', 'PATH ...', 'sgd|adamw')
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        named = [metavar for note in args[1:] if (metavar := getattr(note, "metavar", None))]
        return named[0] if named else _values(args[0], switch=switch)
    if origin is Literal:
        return "|".join(map(str, args))
    if origin in (Union, types.UnionType):
        return "|".join("None" if member is type(None) else _values(member) for member in args)
    if origin is dict:
        return f"NAME {_values(args[1])}" if form_of(args[1]) else "NAME VALUE ..."
    if origin in (tuple, list):
        return f"{_values(args[0])} ..." if origin is list or Ellipsis in args else " ".join(map(_values, args))
    if hint is bool:
        return "" if switch else "True|False"
    return _WORDS.get(hint, "VALUE")


_WORDS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _bold(text: str) -> str:
    colored = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb") and "NO_COLOR" not in os.environ
    return f"\x1b[1m{text}\x1b[0m" if colored else text
