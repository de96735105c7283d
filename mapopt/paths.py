"""Paths and names that users give: whatever they are, what is wrong with them is one line.

Only regular files are read, and their size is looked at first: a pipe would block, a device would never end, and a file
of the wrong kind may be larger than the memory.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePath

from mapopt.errors import ConfigError, MapoptError, shown

MAX_NAME = 120
"""Characters of a name that becomes part of file names."""

MAX_PATH, MAX_PART = 4095, 255
"""Bytes of a path and of one of its parts that Linux takes."""


def check_name(name: str, what: str, *, error: type[MapoptError] = ConfigError) -> str:
    """Returns a name that files or folders are called by, which never leads out of their folder.

    Raises:
        MapoptError: of the kind `error`: the name has other characters, or too many.

    >>> check_name("../../agent", "the agent's name")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mapopt.errors.ConfigError: the agent's name is '../../agent': expected at most 120 letters, digits, and . _ + - ...
    """
    if not re.fullmatch(r"\w[\w.+-]*", name) or len(name) > MAX_NAME or len(os.fsencode(name)) > MAX_PART - 55:
        raise error(
            f"{what} is {shown(name)}: expected at most {MAX_NAME} letters, digits, and . _ + - after the first. It "
            "becomes part of file names."
        )
    return name


def check_inside(name: str, what: str, *, error: type[MapoptError] = ConfigError) -> str:
    """Returns a file's name, with folders before it or without, that does not lead out of the folder it is put in.

    Raises:
        MapoptError: of the kind `error`: the name begins at the root, or goes up with ``..``.

    >>> check_inside("../../cat.jpg", "the image's name")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: the image's name is '../../cat.jpg': expected one without .. that does not begin with /
    """
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise error(f"{what} is {shown(name)}: expected one without .. that does not begin with /")
    return name


def check_path(path: str | Path) -> Path:
    """Returns a path that an operating system takes, whether or not something is there.

    Raises:
        ConfigError: it has a null character, or it or a part of it is too long.
    """
    text = str(path)
    if "\0" in text:
        raise ConfigError(f"the path {shown(text)} has a null character in it. Give another path.")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(
            f"the path {shown(ascii(text))} has characters that no path can have. Give another."
        ) from None
    longest = max(map(len, encoded.split(os.fsencode(os.sep))))
    if len(encoded) > MAX_PATH or longest > MAX_PART:
        raise ConfigError(
            f"the path {shown(text)} is too long: expected at most {MAX_PATH} bytes, and {MAX_PART} between two '/'"
        )
    return Path(path)


def shown_path(path: str | Path) -> str:
    """Returns a path as messages show it: itself, or in short where it is no path at all."""
    try:
        check_path(path)
    except ConfigError:
        return shown(str(path))
    return str(path)


def read_bytes(path: str | Path, *, what: str, limit: int, error: type[MapoptError]) -> bytes:
    """Returns the content of a regular file of bounded size.

    Args:
        path: of the file.
        what: it should be.
        limit: bytes at most.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: there is no such file, it is a folder, pipe or device, it is larger, or it
            cannot be read.
    """
    size = file_size(path, what=what, error=error)
    if size > limit:
        raise error(
            f"{path}: has {size:,} bytes; expected {what}, of at most {limit:,}. Check that it is the right file."
        )
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); expected {what}.") from None


def file_size(path: str | Path, *, what: str, error: type[MapoptError]) -> int:
    """Returns the size of a regular file in bytes.

    Raises:
        MapoptError: of the kind `error`: there is no such file, or it is a folder, pipe or device.
    """
    try:
        check_path(path)
        status = os.stat(path)
    except ConfigError as problem:
        raise error(f"{problem}; expected {what}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path}: no such file; expected {what}.") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); expected {what}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path}: is {_kind(status.st_mode)}; expected {what}. Give the path of a file.")
    return status.st_size


def kind_of(path: str | Path) -> str:
    """Says what stands at a path that is there."""
    return _kind(os.stat(path).st_mode)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")
