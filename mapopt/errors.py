"""The errors a user can cause, each one message and exit status 2.

A message says what was given, what was expected, and what to do. The command line prints it without a traceback;
a library user catches `MapoptError` or the kind that concerns them. Everything else that is raised is a bug of ours.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any


class MapoptError(Exception):
    """What was asked cannot be done, and the message says why and what to do.

    Messages name what was given, which may be a megabyte of anything: what is too long is shortened in its middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_shortened(str(message)))


class DataError(MapoptError):
    """Images or annotations are missing, unreadable or contradict each other."""


class ConfigError(MapoptError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class StoreError(MapoptError):
    """A folder of results cannot be written to, or does not hold what was asked for."""


class CheckpointError(MapoptError):
    """A checkpoint is damaged, of another version, or of another detector."""


class AgentError(MapoptError):
    """A stored agent is damaged, of another version, or was trained for other knobs."""


class TimeUp(MapoptError):
    """A run has reached its time limit; what it has done so far is kept, and it can be resumed."""


class WorkerError(MapoptError):
    """A worker process died, or the memory did not suffice."""


class ProcessLost(MapoptError):
    """Another of the processes that train together has ended."""


def out_of_memory(error: BaseException) -> str:
    """Returns a line about an error if it is one of memory, Python's, numpy's or torch's; else an empty text.

    >>> out_of_memory(MemoryError("Unable to allocate 8.00 EiB"))
    'the memory does not suffice (Unable to allocate 8.00 EiB): use fewer or smaller images, lanes or workers'
    >>> out_of_memory(ValueError("no"))
    ''
    """
    detail = str(error).splitlines()[0][:160] if str(error) else ""
    is_torchs = isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "allocate memory" in detail or "out of memory" in detail
    )
    if not is_torchs and not isinstance(error, MemoryError):
        return ""
    about = f" ({detail})" if detail else ""
    return f"the memory does not suffice{about}: use fewer or smaller images, lanes or workers"


def unknown_name(kind: str, given: str, known: Iterable[str], *, limit: int = 0) -> str:
    """Returns a message about a name that does not exist, with the nearest one that does.

    Args:
        kind: what it is a name of.
        given: the name.
        known: the names that there are.
        limit: list so many of them, the nearest, and how many there are beside them; 0 lists all.

    >>> unknown_name("loss", "focl", ["bce", "focal"])
    "unknown loss 'focl': did you mean 'focal'? Known: bce, focal"
    """
    names = sorted(known)
    listed = names
    if 0 < limit < len(names):
        nearest = difflib.get_close_matches(given, names, n=limit, cutoff=0.0)
        listed = [*nearest[:-1], f"{nearest[-1]} and {len(names) - limit} more"]
    near = difflib.get_close_matches(given, names, n=1)
    hint = f": did you mean '{near[0]}'?" if near else "."
    short = given if len(given) <= 80 else f"{given[:77]}..."
    return f"unknown {kind} '{short}'{hint} Known: {', '.join(listed)}"


def shown(value: Any, limit: int = 60) -> str:
    """Returns a value as a message shows it: on one line, short, and without writing out all of a large one.

    >>> shown("cat"), shown(list(range(1000)), 20)
    ("'cat'", '[0, 1, 2, 3, 4, 5...')
    """
    form = reprlib.Repr()
    form.maxstring = form.maxother = form.maxlong = max(limit, 10)
    form.maxlist = form.maxtuple = form.maxdict = 8
    text = " ".join(form.repr(value).split()) if not isinstance(value, str) else form.repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _shortened(message: str) -> str:
    """Cuts the middle out of words and messages that are too long to be read, and spells what cannot be printed."""
    if len(message) > _LONGEST_WORD or not message.isprintable():
        message = re.sub(r"\S{" + str(_LONGEST_WORD) + r",}", lambda word: _cut(word[0], _LONGEST_WORD), message)
        message = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in message)
    return _cut(message, _LONGEST)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[len(text) - limit // 3 :]}"


_LONGEST_WORD = 400  # a path is one
_LONGEST = 2000
