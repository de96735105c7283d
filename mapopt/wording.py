"""Words of messages: what is a flag on the command line is an argument in Python.

Messages are written in flags, because most of them are read at a terminal. The functions that stand for the commands
say the same in the words of their arguments, unless it is a command that called them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from mapopt.errors import MapoptError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_AT_A_TERMINAL: ContextVar[bool] = ContextVar("at a terminal", default=False)

_SWITCHES = ("resume", "overwrite", "accept_stored", "redo")
"""Flags that are True where they stand alone."""

_IN_PYTHON = re.compile(r" \([^()]*(?:\([^()]*\)[^()]*)? in Python\)")
_COMMAND_OR_FLAG = re.compile(
    r"`[^`]*`"
    r"|mapopt [a-z][a-z -]*?(?: --?[\w.-]+(?: [A-Z][A-Z:_]*\b)?)+"
    r"|--(?P<name>[a-z][a-z_-]*(?:\.[a-z][a-z_-]*)*)"
    r"(?P<values>(?: (?:\d+(?:\.\d+)?|drop|clip|error|keep|cpu|auto|shapes|none|coco|voc|yolo|True|False)\b)*)"
)


@contextmanager
def at_a_terminal() -> Iterator[None]:
    """Leaves messages in the words of flags, as a command's user knows them."""
    before = _AT_A_TERMINAL.set(True)
    try:
        yield
    finally:
        _AT_A_TERMINAL.reset(before)


def speaks_python(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Lets a function's errors name arguments where they name flags, unless a command called it."""

    @functools.wraps(function)
    def speaking(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except MapoptError as error:
            if not _AT_A_TERMINAL.get():
                error.args = (in_python(str(error)), *error.args[1:])
            raise

    return speaking


def in_python(message: str) -> str:
    """Returns a message with arguments in place of flags; whole commands stay what they are.

    >>> in_python("runs: is not empty. Give --resume to go on, or another --out.")
    'runs: is not empty. Give resume=True to go on, or another out.'
    >>> in_python("Divide it by seed: --split 0.7 0.15 0.15; or use `mapopt split --out PATH`.")
    'Divide it by seed: split=(0.7, 0.15, 0.15); or use `mapopt split --out PATH`.'
    """

    def spoken(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        name, values = match["name"].replace("-", "_"), match["values"].split()
        if not values:
            return f"{name}=True" if name in _SWITCHES else name
        written = [value if value[0].isdigit() or value in ("True", "False") else repr(value) for value in values]
        return f"{name}={written[0]}" if len(written) == 1 else f"{name}=({', '.join(written)})"

    return _COMMAND_OR_FLAG.sub(spoken, _IN_PYTHON.sub("", message))
