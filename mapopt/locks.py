"""Locks an output folder for as long as a run writes to it, so that two processes never mix two runs.

The system gives a lock up when its process ends, however it ends: what a killed process leaves blocks nobody. The
folder itself is locked, so that no file is left in it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mapopt.errors import StoreError
from mapopt.files import remove_unfinished

try:
    import fcntl
except ImportError:  # Windows; there nothing is locked
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
"""Locked in place of the folder on file systems that lock files alone, such as NFS."""

_NO_FOLDERS = (errno.EBADF, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EISDIR)
"""What such file systems say."""


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Keeps other processes out of a folder meanwhile; makes it, and removes it again if nothing was written there.

    What a killed process has left half-written in it is removed.

    Raises:
        StoreError: another process writes there, or the folder cannot be made.
    """
    folder = Path(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    handle = _lock(folder, folder)
    try:
        if fcntl is not None:
            with suppress(OSError):
                remove_unfinished(folder)
        yield
    finally:
        for place in made:
            # Whoever waits for the folder opens it anew where it is gone.
            with suppress(OSError):
                place.rmdir()
        os.close(handle)


@contextmanager
def lock_file(path: str | Path) -> Iterator[None]:
    """Keeps other processes from writing one file meanwhile; others in its folder are free.

    Raises:
        StoreError: another process writes it, or its folder cannot be made.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}{LOCK_FILE}")
    made = [place for place in path.parents if not place.exists()]
    handle = _lock(beside, path)
    try:
        yield
    finally:
        for remove in (beside.unlink, *(place.rmdir for place in made)):
            with suppress(OSError):
                remove()
        os.close(handle)


def _lock(path: Path, name: Path) -> int:
    """Returns the open handle of what is locked and still at its place.

    Args:
        path: a folder, or a file where `name` is another one.
        name: what the message calls it.
    """
    try:
        while True:
            (path if path == name else path.parent).mkdir(parents=True, exist_ok=True)
            handle, place = _open(path, is_folder=path == name)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), place.stat()):
                    return handle
            os.close(handle)
    except BlockingIOError:
        raise StoreError(
            f"{name}: another process of mapopt writes here. Wait until it has ended, or choose another --out."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{name}: is a file, or lies below one. Choose another --out.") from None
    except OSError as error:
        raise StoreError(f"{name}: cannot be written ({error.strerror}). Choose another --out.") from None


def _open(path: Path, *, is_folder: bool) -> tuple[int, Path]:
    """Opens and locks a path; returns the handle, and what it is of."""
    if is_folder:
        try:
            return _locked(path, os.O_RDONLY), path
        except OSError as error:
            if error.errno not in _NO_FOLDERS:
                raise
            path = path / LOCK_FILE
    return _locked(path, os.O_RDWR | os.O_CREAT), path


def _locked(path: Path, flags: int) -> int:
    handle = os.open(path, flags)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
