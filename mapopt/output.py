"""The folder a command or function writes to: refused if something is in it, cleared only of its own files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mapopt.errors import ConfigError, StoreError
from mapopt.locks import LOCK_FILE, lock_folder


@dataclass(frozen=True)
class Output:
    """An output folder.

    Attributes:
        folder: where it is, or will be.
        files: patterns of what is written there, such as ``result.json`` or ``pictures/*.jpg``.
        mark: the file that a folder holds if its run was begun; without one nothing can be resumed.
        before: files that are written before that one; a run that was killed in between is resumed at its beginning.
    """

    folder: Path
    files: Sequence[str]
    mark: str = ""
    before: Sequence[str] = ()

    def check(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Finds out whether it may be written here; writes nothing.

        Raises:
            ConfigError: `resume` and `overwrite` contradict each other.
            StoreError: the folder is not empty, and nothing was said about it; another process writes there; or it
                cannot be a folder.
        """
        self._check_orders(resume, overwrite)
        if self.folder.is_dir():
            with lock_folder(self.folder):
                self._check_content(resume, overwrite)

    @contextmanager
    def writing(self, *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
        """Keeps other processes out of the folder meanwhile, once it is found out that it may be written here.

        Raises:
            ConfigError: as `check`.
            StoreError: as `check`.
        """
        self._check_orders(resume, overwrite)
        with lock_folder(self.folder):
            self._check_content(resume, overwrite)
            yield

    def _check_orders(self, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise ConfigError("--resume goes on with what is there and --overwrite replaces it: give one of them")
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder}: is a file. Give --out a folder.")

    def _check_content(self, resume: bool, overwrite: bool) -> None:
        if self._empty():
            return
        if resume and not any((self.folder / name).is_file() for name in (self.mark, *self.before)):
            raise StoreError(f"{self.folder}: holds no run to resume (no {self.mark}). Give the --out of the run.")
        if not resume and not overwrite:
            going_on = "--resume to go on with the run in it, " if self.mark else ""
            raise StoreError(
                f"{self.folder}: is not empty. Give {going_on}--overwrite to replace it, or another --out."
            )

    def clear(self) -> None:
        """Removes what an earlier run of the command wrote, and nothing else.

        Raises:
            StoreError: a file cannot be removed.
        """
        self.clear_written()
        self.clear_unfinished()

    def clear_written(self) -> None:
        """Removes only what an earlier run wrote to its end: this run may be in the middle of a write.

        Raises:
            StoreError: a file cannot be removed.
        """
        try:
            for pattern in self.files:
                for path in self.folder.glob(pattern):
                    path.unlink()
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be removed ({error.strerror}). Choose another --out.") from None

    def clear_unfinished(self) -> None:
        """Removes the temporary files that a killed run left in the middle of a write."""
        for path in self._unfinished():
            with suppress(OSError):
                path.unlink()

    def _unfinished(self) -> Iterator[Path]:
        for pattern in self.files:
            above, _, name = pattern.rpartition("/")
            yield from (self.folder / above).glob(f".{name}.*")

    def _empty(self) -> bool:
        """Says whether nothing is there but what a run leaves that is killed in its first write."""
        try:
            if not self.folder.exists():
                return True
            unfinished = {*self._unfinished(), self.folder / LOCK_FILE}
            return all(path in unfinished for path in self.folder.iterdir())
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be read ({error.strerror}). Choose another --out.") from None
