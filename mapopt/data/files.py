"""Reads files so that a failure names the file: missing, a folder, in a wrong encoding, or cut off.

Every reader of this package goes through `read_text` or `read_json`; its writers use `mapopt.files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapopt.errors import DataError


def read_text(path: str | Path) -> str:
    """Returns the text of a file.

    Raises:
        DataError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path{_nearest_folder(path)}.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, but a file is expected here. Give the path of the file.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text (byte {error.start}). Expected a text file; check that this is the right one."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from None


def read_json(path: str | Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        DataError: the file cannot be read, or is not JSON; the message names the line.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: is empty. Expected a JSON file; it may have been cut off while it was written.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: is not valid JSON ({error.msg}). "
            "Expected a complete JSON file; it may have been cut off while it was written or copied."
        ) from None


@contextmanager
def blame(path: str | Path) -> Iterator[None]:
    """Puts the file's name in front of every `DataError` that is raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _nearest_folder(path: Path) -> str:
    """Says which part of the path exists, as far as that helps."""
    if path.parent.is_dir():
        return ""
    existing = next((parent for parent in path.parents if parent.is_dir()), None)
    return "" if existing is None else f"; of its folders only {existing} exists"
