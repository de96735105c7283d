"""The help of a command at the width of the terminal: what it does, its flags with their values, and examples.

tyro lays out the flags. It would print a paragraph of the description as one long line and offer a twin `--no-x` for
every switch, so the description and the switches are written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import tyro

from mapopt.commands.command import Command

MAX_WIDTH = 120
"""Columns that help fills: longer lines are hard to read, and tyro would put its boxes side by side."""

MARKERS = (tyro.conf.FlagConversionOff, tyro.conf.HelptextFromCommentsOff)
"""Every flag has a value for tyro, True and False included, and no comment of the code is taken for help."""

_DESCRIPTION = "WHAT IT DOES"
_STYLE = r"(?:\x1b\[[0-9;]*m)*"
_SWITCH = re.compile(rf"(--([\w.-]+){_STYLE} {_STYLE})(\{{True,False\}})")


def help_text(cls: type[Command], default: Command, hints: dict[str, Any], prog: str) -> str:
    """Returns the help of a command.

    Args:
        cls: which one.
        default: the command as the configuration file has it; its values are shown as defaults.
        hints: the type of every flag.
        prog: the program's and the command's name.
    """
    # The size of a terminal is what COLUMNS says, else what the terminal says, else 80.
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    summary, _, more = (inspect.getdoc(cls) or "").partition("\n\n")
    paragraphs = [textwrap.fill(" ".join(text.split()), width) for text in (summary, *more.split("\n\n")) if text]
    captured = _Captured()
    with _columns(width), contextlib.redirect_stdout(captured), contextlib.suppress(SystemExit):
        # tyro would join the lines of a paragraph, so the description takes the place of a mark afterwards.
        tyro.cli(cls, args=["--help"], default=default, prog=prog, config=MARKERS, description=_DESCRIPTION)
    # A switch stands without its values, which are there to turn off what is on.
    off = {name for name, value in _values(default) if hints.get(name) is bool and value is False}
    text = _SWITCH.sub(lambda match: _bare_switch(match, off), captured.text().rstrip())
    text = text.replace(_DESCRIPTION, "\n\n".join(paragraphs), 1)
    examples = "\n".join(["examples:", *(f"  {line}" for line in cls.examples)])
    return f"{text}\n\n{examples}" if cls.examples else text


class _Captured(io.TextIOWrapper):
    """Text in memory that has the encoding and the colors of the standard output."""

    def __init__(self) -> None:
        self._colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        super().__init__(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None) or "ascii")

    def isatty(self) -> bool:
        return self._colored

    def text(self) -> str:
        self.seek(0)
        return self.read()


def _bare_switch(match: re.Match[str], off: set[str]) -> str:
    flag, name, values = match.groups()
    return flag + " " * len(values) if name.replace("-", "_") in off else match.group()


def _values(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value of nested dataclasses with its name."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


@contextlib.contextmanager
def _columns(width: int) -> Iterator[None]:
    """Sets the width that tyro writes at, in the one way there is."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
