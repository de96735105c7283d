"""Writes files so that a reader, or the next run after a power cut, sees the old one or the new one and never half.

What mapopt itself wrote as JSON is read back by one function, which says in one line what is wrong with a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mapopt.documents import parse_json
from mapopt.errors import MapoptError, StoreError, shown
from mapopt.paths import kind_of, read_bytes, shown_path

MAX_RECORD = 256 * 2**20
"""Bytes of a JSON file of ours."""

CHECKSUM = "checksum"
"""The key under which a file of ours holds the checksum of everything else in it."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns plain values with their checksum, so that `checked` sees when one of them has changed.

    >>> sorted(sealed({"version": 2, "seed": 0}))
    ['checksum', 'seed', 'version']
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
    with replacing(path) as temporary, unwritable(path):
        temporary.write_bytes(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives an empty file beside another, whose place it takes at the end of the block, with the folders above it.

    It is for what is too large for the memory; `write_bytes` is simpler. A block that fails leaves nothing behind.

    Raises:
        StoreError: the file cannot be written; of what fails in the block, only what `unwritable` is around.
    """
    path = Path(path)
    temporary = ""
    try:
        with unwritable(path):
            if path.exists() and not path.is_file():
                # Renaming would replace a device or a pipe by a file, silently.
                raise StoreError(f"{path}: is {kind_of(path)}. Give the path of a file.")
            path.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{path.name}."[:_MAX_PREFIX]
            handle, temporary = tempfile.mkstemp(prefix=prefix, suffix=UNFINISHED, dir=path.parent)
            os.close(handle)
        yield Path(temporary)
        with unwritable(path):
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        # Gone already if all went well; left over only by a failure or Ctrl-C.
        with suppress(OSError):
            os.unlink(temporary)


@contextmanager
def unwritable(path: str | Path) -> Iterator[None]:
    """Turns what the system says of a write in the block into one line about a file.

    Raises:
        StoreError: the system says something.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "Make room, or choose another folder." if full else "Choose a folder that can be."
        raise StoreError(f"{shown_path(path)}: cannot be written ({error.strerror}). {advice}") from None
    except ValueError as error:  # a character that no path can have
        raise StoreError(f"{shown_path(path)}: cannot be written ({error}). Give another path.") from None


def remove_unfinished(folder: Path) -> None:
    """Removes what killed processes left half-written in a folder; only who keeps others out of it may do that."""
    for leftover in folder.glob(f".*{UNFINISHED}"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file in one step; bytes of file names that are not UTF-8 stay what they are.

    Raises:
        StoreError: the file cannot be written, or the text holds half of a pair of surrogates.
    """
    write_bytes(path, _encoded(path, text))


@contextmanager
def text_file(path: str | Path) -> Iterator[Callable[[str], None]]:
    """Writes a UTF-8 text file piece by piece, as `write_text` does, when it is too large for the memory.

    The block gets a function that adds text; the file is there when it ends, and if it fails, nothing is left of it.

    Raises:
        StoreError: as `write_text`.
    """
    with replacing(path) as temporary:
        with unwritable(path):
            file = temporary.open("wb")

        def write(text: str) -> None:
            content = _encoded(path, text)
            with unwritable(path):
                file.write(content)
                file.flush()

        try:
            yield write
        finally:
            with suppress(OSError):
                file.close()


def _encoded(path: str | Path, text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{path}: the character {error.object[error.start]!a} cannot be written as UTF-8. "
            "Correct the name it is in."
        ) from None


def write_record(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes plain values with their checksum, for `read_record`, in one step."""
    write_json(path, sealed(content))


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_record(
    path: str | Path,
    *,
    what: str,
    version: int | None = None,
    unsealed: Sequence[int] = (),
    format: str = "",
    remedy: str = "Write it again.",
    error: type[MapoptError] = StoreError,
) -> dict[str, Any]:
    """Returns what a JSON file of ours holds, without its checksum.

    Args:
        path: of the file.
        what: it should be, and who writes it, such as "a schedule that RecordSchedule wrote".
        version: which this mapopt writes; None reads any.
        unsealed: earlier versions that are still read and had no checksum.
        format: the value of the key "format"; empty where files have no such key.
        remedy: what to do about another version or a damaged file, as a sentence.
        error: what to raise.

    Raises:
        MapoptError: of the kind `error`: the file is missing or unreadable, is not JSON, holds something else, was
            written by another version, or is not what its checksum says.
    """
    text = _read_text(path, what, remedy, error)
    try:
        record = parse_json(text, str(path), error=error)
    except MapoptError as problem:
        if "is not valid JSON" in str(problem):
            raise error(f"{path}: is not JSON; expected {what}. {remedy}") from None
        raise
    if not isinstance(record, dict) or record.get("format", "") != format:
        raise error(f"{path}: is something else; expected {what}. {remedy}")
    written = record.get("version")
    # True and 1.0 equal 1, and are versions of nothing.
    known = type(written) is int and (written == version or written in unsealed)
    if version is not None and not known:
        given = "none" if written is None else shown(written)
        raise error(f"{path}: is of version {given}; expected {what} in version {version}. {remedy}")
    required = bool(unsealed) and written not in unsealed
    return checked(record, path, required=required, remedy=remedy, error=error)


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
    for number, line in enumerate(_read_text(path, what, "Write it again.", error).splitlines(), start=1):
        try:
            values.append(parse_json(line, f"{path}, line {number}", error=error))
        except MapoptError as problem:
            if "is not valid JSON" in str(problem):
                raise error(
                    f"{path}, line {number}: is not JSON; expected {what}. The file is damaged or cut off: copy it "
                    "again, or begin again what wrote it."
                ) from None
            raise
    return values


UNFINISHED = ".unfinished"
"""How the name of a file ends that is not written to its end yet."""

_MAX_PREFIX = 100
"""Characters of a temporary file's name before the random ones: a long name with more at its end would be too long."""


def _read_text(path: str | Path, what: str, remedy: str, error: type[MapoptError]) -> str:
    content = read_bytes(path, what=what, limit=MAX_RECORD, error=error)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{path}: is not JSON; expected {what}. {remedy}") from None


def _umask() -> int:
    """Returns the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
