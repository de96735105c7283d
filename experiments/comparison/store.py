"""The store keeps every finished run of every experiment in its own folder, so a killed sweep goes on where it was.

A run is written into a hidden folder beside its place and renamed into it in one go: a folder that can be seen is
whole. It carries a key, a hash of everything that decides its numbers; a run with another key counts as not
done and is replaced.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from mapopt.errors import MapoptError, StoreError, unknown_name
from mapopt.files import read_json_lines, read_record, write_bytes, write_json, write_text
from mapopt.former_names import translate
from mapopt.training import Round, Scores

VERSION = 1
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
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise StoreError(
                    f"{name!r} cannot name a folder of the store: use letters, digits, and . _ + - after the first"
                )
        return root / self.experiment / self.task / self.method / str(self.seed)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What was spent before a method's runs could begin."""

    images: int = 0
    seconds: float = 0.0
    runs: int = 0


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One run of one method on one task with one seed."""

    key: str
    """Hash of everything that decides the numbers; see `run_key`."""
    experiment: str
    task: str
    method: str
    label: str
    """The method's name for people."""
    seed: int
    status: Literal["finished", "stopped", "diverged"]
    reason: str
    """Why it ended early; empty if it did not."""
    selected: int
    """Position of the round whose weights were tested."""
    device: str
    val: Scores
    """At the selected round."""
    test: Scores
    """Zeros where the run diverged."""
    stats: tuple[float, ...]
    """The test's 12 numbers in pycocotools' order."""
    images: int
    """Trained."""
    evaluated: int
    """Of the val split in every round and of the test split once."""
    seconds: float
    """Wall time; in a fleet, the lane's part of it."""
    search: Cost
    """Of the search for the method's settings."""
    training: Cost
    """Of the agent, where the method is one."""
    categories: tuple[str, ...]
    folder: Path | None = field(default=None, compare=False, repr=False)
    """Where the run is stored; None before it is."""

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """Its rounds, read when they are first asked for."""
        path = self._file("rounds.jsonl")
        try:
            lines = read_json_lines(path, what="the rounds of a run that `mapopt compare` stored")
            return tuple(Round.from_dict(record) for record in lines)
        except (MapoptError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def drawn(self) -> dict[str, np.ndarray] | None:
        """Test pictures with this run's boxes, or None if it kept none."""
        path = self._file("drawn.npz")
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise _damaged(path, error) from error

    def _file(self, name: str) -> Path:
        if self.folder is None:
            raise StoreError(f"run {self.method}/{self.seed} is in no store yet: write it to one, then read it back")
        return self.folder / name


class Store:
    """The folder ``root/<experiment>/<task>/<method>/<seed>/`` with ``run.json``, ``rounds.jsonl``, ``drawn.npz``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def has(self, experiment: str, task: str, method: str, seed: int, key: str) -> bool:
        """Says whether the run is stored with this key.

        Raises:
            StoreError: the run is there but cannot be read.
        """
        folder = RunKey(experiment, task, method, seed).folder(self.root)
        return folder.exists() and _read(folder).key == key

    def read(self, experiment: str, task: str, method: str, seed: int) -> StoredRun:
        """Reads one run.

        Raises:
            StoreError: there is no such run, it is damaged, or another version wrote it.
        """
        folder = RunKey(experiment, task, method, seed).folder(self.root)
        if not folder.exists():
            raise StoreError(f"{folder}: no such run; expected one that `mapopt compare` stored: run it first")
        return _read(folder)

    def runs(self, experiment: str) -> list[StoredRun]:
        """Reads every run of an experiment, ordered by task, method and seed; their rounds only when asked for.

        Raises:
            StoreError: there is no such experiment, or one of its runs is damaged.
        """
        place = self.root / experiment
        if not place.is_dir():
            known = [folder.name for folder in _visible(self.root)]
            if not known:
                raise StoreError(f"{self.root}: no experiment is stored here; run `mapopt compare` first")
            raise StoreError(f"{self.root}: {unknown_name('experiment', experiment, known)}")
        runs = []
        for method in (method for task in _visible(place) for method in _visible(task)):
            _sweep(method)
            seeds = [folder for folder in _visible(method) if folder.name.lstrip("-").isdigit()]
            runs += [_read(folder) for folder in sorted(seeds, key=lambda folder: int(folder.name))]
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
                write_json(fresh / "run.json", _as_dict(run))
                write_text(fresh / "rounds.jsonl", "".join(json.dumps(played.as_dict()) + "\n" for played in rounds))
                if drawn is not None:
                    packed = io.BytesIO()
                    np.savez_compressed(packed, allow_pickle=False, **drawn)
                    write_bytes(fresh / "drawn.npz", packed.getvalue())
                _replace(place, fresh)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        except OSError as error:
            raise StoreError(
                f"{place}: the run cannot be written ({error}); make room or choose another folder for the runs"
            ) from error
        return dataclasses.replace(run, folder=place)


def _as_dict(run: StoredRun) -> dict[str, Any]:
    record = {field.name: getattr(run, field.name) for field in dataclasses.fields(run) if field.name != "folder"}
    for name in ("val", "test", "search", "training"):
        record[name] = dataclasses.asdict(record[name])
    record["test"]["stats"] = record.pop("stats")
    return {"version": VERSION, **record}


def _read(folder: Path) -> StoredRun:
    path = folder / "run.json"
    record = read_record(
        path,
        what="a run that `mapopt compare` stored",
        version=VERSION,
        remedy=f"Delete {folder} and run the same command again, or use the mapopt that wrote it.",
    )
    record = {name: value for name, value in translate(record, "stored run").items() if name != "version"}
    try:
        return _from_dict(record, folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def _from_dict(record: dict[str, Any], folder: Path) -> StoredRun:
    record["stats"] = tuple(record["test"].pop("stats"))
    for name in ("val", "test"):
        record[name] = Scores(**{**record[name], "per_category": tuple(record[name]["per_category"])})
    for name in ("search", "training"):
        record[name] = Cost(**record[name])
    return StoredRun(**{**record, "categories": tuple(record["categories"])}, folder=folder)


def _damaged(path: Path, error: Exception) -> StoreError:
    detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return StoreError(f"{path}: not a readable run ({detail}); delete {path.parent} and run the same command again")


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


def _sweep(method: Path) -> None:
    """Clears away what killed writes left in a method's folder; a run that was being replaced gets its place back."""
    for leftover in method.iterdir():
        match = re.fullmatch(r"\.(-?\d+)\.[^.]+\.(new|old)", leftover.name)
        try:
            if match is None or time.time() - leftover.stat().st_mtime < ABANDONED:
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
