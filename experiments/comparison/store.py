"""The store keeps every finished run of every experiment in its own folder, so a killed sweep goes on where it was.

A run is written into a hidden folder beside its place and renamed into it in one go: a folder that can be seen is
whole. It carries a key, a hash of everything that decides its numbers; a run that was asked for otherwise counts as
not done and is replaced.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapopt.errors import StoreError, unknown_name
from mapopt.experiments.comparison.stored_run import StoredRun, contents, read_run
from mapopt.files import write_bytes, write_json
from mapopt.paths import check_name
from mapopt.training import Round

ABANDONED = 600.0
"""Seconds after which an unfinished write is a killed one: writing a run takes well below one."""


@dataclass(frozen=True)
class RunKey:
    """The four names that a run is found by."""

    experiment: str
    task: str
    method: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Returns the run's folder below the store's.

        Raises:
            StoreError: a name cannot be a folder's name.
        """
        for name in (self.experiment, self.task, self.method):
            check_name(name, "the name of a folder of the store", error=StoreError)
        return root / self.experiment / self.task / self.method / str(self.seed)


class Store:
    """The folder ``root/<experiment>/<task>/<method>/<seed>/`` with ``run.json``, ``rounds.jsonl``, ``drawn.npz``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def find(self, experiment: str, task: str, method: str, seed: int) -> StoredRun | None:
        """Reads one run, if it is there.

        Raises:
            StoreError: it is there but cannot be read.
        """
        folder = RunKey(experiment, task, method, seed).folder(self.root)
        return read_run(folder) if folder.exists() else None

    def has(self, experiment: str, task: str, method: str, seed: int, key: str) -> bool:
        """Says whether the run is stored with this key.

        Raises:
            StoreError: the run is there but cannot be read.
        """
        run = self.find(experiment, task, method, seed)
        return run is not None and run.key == key

    def read(self, experiment: str, task: str, method: str, seed: int) -> StoredRun:
        """Reads one run.

        Raises:
            StoreError: there is no such run, it is damaged, or another version wrote it.
        """
        folder = RunKey(experiment, task, method, seed).folder(self.root)
        if not folder.exists():
            raise StoreError(f"{folder}: no such run; expected one that `mapopt compare` stored: run it first")
        return read_run(folder)

    def runs(self, experiment: str) -> list[StoredRun]:
        """Reads every run of an experiment, ordered by task, method and seed; their rounds only when asked for.

        Raises:
            StoreError: there is no such experiment, or one of its runs is damaged.
        """
        place = self.root / check_name(experiment, "the experiment's name", error=StoreError)
        if not place.is_dir():
            known = [folder.name for folder in _visible(self.root)]
            if not known:
                raise StoreError(f"{self.root}: no experiment is stored here; run `mapopt compare` first")
            raise StoreError(f"{self.root}: {unknown_name('experiment', experiment, known)}")
        runs = []
        for method in (method for task in _visible(place) for method in _visible(task)):
            _sweep(method)
            seeds = [folder for folder in _visible(method) if folder.name.lstrip("-").isdigit()]
            runs += [read_run(folder) for folder in sorted(seeds, key=lambda folder: int(folder.name))]
        return runs

    def write(self, run: StoredRun, rounds: Sequence[Round], drawn: dict[str, np.ndarray] | None = None) -> StoredRun:
        """Stores a run, replacing one of the same names, and returns it with its folder.

        Whenever the process is killed, the place holds the old run, the new one or, for an instant, none.
        """
        place = RunKey(run.experiment, run.task, run.method, run.seed).folder(self.root)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _sweep(place.parent)
            fresh = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".new"))
            try:
                # mkdtemp makes folders that only their owner can read.
                fresh.chmod(0o755)
                record, files = contents(run, rounds, drawn)
                for name, content in files.items():
                    write_bytes(fresh / name, content)
                write_json(fresh / "run.json", record)
                _replace(place, fresh)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        except OSError as error:
            raise StoreError(
                f"{place}: the run cannot be written ({error}); make room or choose another folder for the runs"
            ) from error
        return dataclasses.replace(run, files=record["files"], folder=place)

    def sweep(self, experiment: str) -> None:
        """Clears away what killed writes left in an experiment, however young; nobody else may write to it."""
        place = self.root / check_name(experiment, "the experiment's name", error=StoreError)
        for method in (method for task in _visible(place) for method in _visible(task)):
            _sweep(method, older_than=0.0)


def _replace(place: Path, fresh: Path) -> None:
    """Puts a complete folder in its place; what was there is kept under another name until that has happened."""
    if not place.exists():
        os.rename(fresh, place)
        return
    former = fresh.with_suffix(".old")
    # Its age is now that of this write, so nobody takes it for a leftover yet.
    os.utime(place)
    os.rename(place, former)
    try:
        os.rename(fresh, place)
    except BaseException:
        os.rename(former, place)
        raise
    shutil.rmtree(former)


def _sweep(method: Path, *, older_than: float = ABANDONED) -> None:
    """Clears away what killed writes left in a method's folder; a run that was being replaced gets its place back."""
    for leftover in method.iterdir():
        match = re.fullmatch(r"\.(-?\d+)\.[^.]+\.(new|old)", leftover.name)
        try:
            if match is None or time.time() - leftover.stat().st_mtime < older_than:
                continue
            if match[2] == "old" and not (method / match[1]).exists():
                os.rename(leftover, method / match[1])
            else:
                shutil.rmtree(leftover)
        except FileNotFoundError:
            # Another process was here first.
            continue


def _visible(folder: Path) -> Iterator[Path]:
    """Yields the sub-folders that are no leftovers."""
    inside = folder.iterdir() if folder.is_dir() else iter(())
    yield from sorted(path for path in inside if path.is_dir() and not path.name.startswith("."))
