"""Writes files so that a reader, or the next run after a power cut, sees the old one or the new one and never half.

What mapopt itself wrote as JSON is read back by one function, which says in one line what is wrong with a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mapopt.errors import MapoptError, StoreError

CHECKSUM = "checksum"
"""The key under which a file of ours holds the checksum of everything else in it."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns plain values with their checksum, so that `checked` sees when one of them has changed.

    >>> sorted(sealed({"version": 2, "seed": 0}))
    ["checksum", "seed", "version"]
    """
    return {**content, CHECKSUM: checksum(content)}


def checked(
    content: Mapping[str, Any],
    where: str | Path,
    *,
    required: bool = True,
    remedy: str = "Write it again.",
    error: type[MapoptError] = StoreError,
) -> dict[str, Any]:
    """Returns what `sealed` was given, if it is still that.

    Args:
        content: as it was read.
        where: the file, for the messages.
        required: refuse content without a checksum; files of earlier versions have none.
        remedy: what to do about a damaged file, as a sentence.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the checksum is missing or of other content.
    """
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    if CHECKSUM not in content and not required:
        return rest
    if CHECKSUM not in content:
        raise error(f"{where}: has no checksum, so it was changed or cut off. {remedy}")
    if content[CHECKSUM] != checksum(rest):
        raise error(f"{where}: its content is not what its checksum says, so it was changed or damaged. {remedy}")
    return rest


def checksum(content: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of plain values, whatever the order of their keys; a checksum among them does not count."""
    plain = json.loads(json.dumps({name: value for name, value in content.items() if name != CHECKSUM}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file in one step, with the folders above it.

    Raises:
        StoreError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}). Choose a folder that can be.") from None
    finally:
        # Gone already if all went well; left over only by a failure or Ctrl-C.
        with suppress(OSError):
            os.unlink(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file in one step."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_record(
    path: str | Path,
    *,
    what: str,
    version: int | None = None,
    format: str = "",
    remedy: str = "Write it again.",
    error: type[MapoptError] = StoreError,
) -> dict[str, Any]:
    """Returns what a JSON file of ours holds.

    Args:
        path: of the file.
        what: it should be, and who writes it, such as "a schedule that RecordSchedule wrote".
        version: which this mapopt reads; None reads any.
        format: the value of the key "format"; empty where files have no such key.
        remedy: what to do about another version or a damaged file, as a sentence.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the file is missing or unreadable, is not JSON, holds something else, or was
            written by another version.
    """
    try:
        record = json.loads(_read_text(path, what, error))
    except ValueError:
        raise error(f"{path}: is not JSON; expected {what}. {remedy}") from None
    if not isinstance(record, dict) or record.get("format", "") != format:
        raise error(f"{path}: is something else; expected {what}. {remedy}")
    if version is not None and record.get("version") != version:
        written = record.get("version", "none")
        raise error(f"{path}: is of version {written}; expected {what} in version {version}. {remedy}")
    return record


def read_json_lines(path: str | Path, *, what: str, error: type[MapoptError] = StoreError) -> list[Any]:
    """Returns the lines of a file that is JSON line by line.

    Args:
        path: of the file.
        what: it should be, and who writes it.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the file is missing or unreadable, or a line is not JSON.
    """
    values = []
    for number, line in enumerate(_read_text(path, what, error).splitlines(), start=1):
        try:
            values.append(json.loads(line))
        except ValueError:
            raise error(f"{path}, line {number}: is not JSON; expected {what}. Write it again.") from None
    return values


def _read_text(path: str | Path, what: str, error: type[MapoptError]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path}: no such file; expected {what}.") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); expected {what}.") from None


def _umask() -> int:
    """Returns the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
