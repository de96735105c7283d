"""A stored run as a value, and its record: how it is written, and what is checked of what is read.

A record carries the checksums of itself and of the files beside it, and the names of the folders it lies in, so that a
damaged run is refused and a copied one is not counted twice. Records of version 1 have no checksums; of them the names
and the ranges of the numbers are checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np

from mapopt.errors import MapoptError, StoreError
from mapopt.files import read_json_lines, read_record, sealed
from mapopt.former_names import translate
from mapopt.training import Round, Scores

VERSION = 2
ROUNDS, DRAWN = "rounds.jsonl", "drawn.npz"

Status = Literal["finished", "stopped", "diverged"]

_LOSSES = ("class_loss", "box_loss")
"""The fields of scores that are no scores."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What was spent before a method's runs could begin."""

    images: int = 0
    seconds: float = 0.0
    """By the clock."""
    runs: int = 0
    processor_seconds: float | None = None
    """Of the processor; None where only the clock was read."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One run of one method on one task with one seed."""

    key: str
    """Hash of everything that decides the numbers; see `Keys`."""
    experiment: str
    task: str
    method: str
    label: str
    """The method's name for people."""
    seed: int
    status: Status
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
    """By the clock; in a fleet, the lane's part of it."""
    search: Cost
    """Of the search for the method's settings."""
    training: Cost
    """Of the agent, where the method is one."""
    categories: tuple[str, ...]
    processor_seconds: float | None = None
    """Of the processor, likewise; None where only the clock was read."""
    asked: str = ""
    """Hash of what was asked for, the first half of the key; empty in runs of versions that did not keep it."""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """What computed it, the other half; empty likewise."""
    files: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Checksums of the files beside the record; empty likewise."""
    folder: Path | None = field(default=None, compare=False, repr=False)
    """Where the run is stored; None before it is."""

    @property
    def maker(self) -> str:
        """What computed it, in words."""
        made = self.made_by
        if not made:
            return "an earlier mapopt that did not say"
        return f"mapopt {made['mapopt']} (code {made['code']}) with torch {made['torch']} on {made['device']}"

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """Its rounds, read when they are first asked for."""
        path = self._file(ROUNDS)
        try:
            lines = read_json_lines(path, what="the rounds of a run that `mapopt compare` stored")
            self._check_file(path)
            rounds = tuple(Round.from_dict(record) for record in lines)
            _check_rounds(self, rounds)
            return rounds
        except (MapoptError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def drawn(self) -> dict[str, np.ndarray] | None:
        """Test pictures with this run's boxes, or None if it kept none."""
        path = self._file(DRAWN)
        if not path.exists() and DRAWN not in self.files:
            return None
        try:
            self._check_file(path)
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise _damaged(path, error) from error

    def _file(self, name: str) -> Path:
        if self.folder is None:
            raise StoreError(f"run {self.method}/{self.seed} is in no store yet: write it to one, then read it back")
        return self.folder / name

    def _check_file(self, path: Path) -> None:
        """Raises ValueError unless a file is what the record says; former records say nothing."""
        if self.files and hashlib.sha256(path.read_bytes()).hexdigest() != self.files.get(path.name):
            raise ValueError("its content is not what the checksum in run.json says")


def contents(
    run: StoredRun, rounds: Sequence[Round], drawn: Mapping[str, np.ndarray] | None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Returns the record of a run, and the content of the files beside it by their names."""
    files = {ROUNDS: "".join(json.dumps(played.as_dict()) + "\n" for played in rounds).encode()}
    if drawn is not None:
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **drawn)
        files[DRAWN] = packed.getvalue()
    record = {field.name: getattr(run, field.name) for field in dataclasses.fields(run) if field.name != "folder"}
    for name in ("val", "test", "search", "training"):
        record[name] = dataclasses.asdict(record[name])
    for name in ("val", "test"):
        if not record[name]["components"]:
            del record[name]["components"]  # as in records from before there were any
    record["test"]["stats"] = record.pop("stats")
    record["made_by"] = dict(run.made_by)
    record["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return sealed({"version": VERSION, **record}), files


def read_run(folder: Path) -> StoredRun:
    """Reads the run in a folder ``EXPERIMENT/TASK/METHOD/SEED``; its rounds only when they are asked for.

    Raises:
        StoreError: it is damaged, was copied from elsewhere, or is of another version.
    """
    path = folder / "run.json"
    record = read_record(
        path,
        what="a run that `mapopt compare` stored",
        version=VERSION,
        unsealed=(1,),
        remedy=f"Delete {folder} and run the same command again, or use the mapopt that wrote it.",
    )
    record = {name: value for name, value in translate(record, "stored run").items() if name != "version"}
    try:
        run = _from_dict(record, folder)
        _check_numbers(run)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    names = (run.experiment, run.task, run.method, str(run.seed))
    if names != folder.absolute().parts[-4:]:
        raise StoreError(
            f"{path}: is the run {'/'.join(names)}, copied or moved here; expected the one that its folder names. "
            "Move it back, or delete the copy."
        )
    return run


def _from_dict(record: dict[str, Any], folder: Path) -> StoredRun:
    record["stats"] = tuple(record["test"].pop("stats"))
    for name in ("val", "test"):
        record[name] = Scores(**{**record[name], "per_category": tuple(record[name]["per_category"])})
    for name in ("search", "training"):
        record[name] = Cost(**record[name])
    return StoredRun(**{**record, "categories": tuple(record["categories"])}, folder=folder)


def _check_numbers(run: StoredRun) -> None:
    """Raises ValueError if a value is not of its kind or out of its range."""
    for name in ("key", "experiment", "task", "method", "label", "reason", "device", "asked"):
        _check(isinstance(getattr(run, name), str), name, getattr(run, name), "a text")
    _check(run.status in get_args(Status), "status", run.status, "one of " + ", ".join(get_args(Status)))
    for name, smallest in (("selected", -1), ("images", 0), ("evaluated", 0)):
        _check_count(name, getattr(run, name), smallest)
    _check(isinstance(run.seed, int) and not isinstance(run.seed, bool), "seed", run.seed, "a whole number")
    for place, cost in (("", run), ("search ", run.search), ("training ", run.training)):
        _check_seconds(f"{place}seconds", cost.seconds)
        if cost.processor_seconds is not None:
            _check_seconds(f"{place}processor_seconds", cost.processor_seconds)
    for place, spent in (("search", run.search), ("training", run.training)):
        _check_count(f"{place} images", spent.images)
        _check_count(f"{place} runs", spent.runs)
    _check(len(run.stats) == 12, "stats", len(run.stats), "12 numbers")
    for place, scores in (("val", run.val), ("test", run.test)):
        _check_scores(place, scores, len(run.categories))
    for value in run.stats:
        _check(_is_score(value), "a number of stats", value, "-1 or 0 to 1")


def _check_rounds(run: StoredRun, rounds: Sequence[Round]) -> None:
    for position, played in enumerate(rounds):
        _check(played.index == position, "index", played.index, f"{position}")
        _check_scores(f"round {position + 1}: val", played.val, len(run.categories))
        _check_seconds("seconds", played.seconds)
        _check_count("images", played.images)
    if not rounds and run.files:
        return  # It was written without any, as its checksum says.
    _check(run.selected < len(rounds), "selected", run.selected, f"a position below {len(rounds)}")


def _check_scores(place: str, scores: Scores, categories: int) -> None:
    _check(len(scores.per_category) == categories, f"{place} per_category", len(scores.per_category), f"{categories}")
    values = {
        name: value for name, value in vars(scores).items() if name not in ("per_category", "components", *_LOSSES)
    }
    losses = {name: getattr(scores, name) for name in _LOSSES}
    losses |= {f"components.{name}": value for name, value in scores.components.items()}
    for name, value in losses.items():
        known = isinstance(value, float | int) and not isinstance(value, bool)
        _check(known and not math.isinf(value), f"{place} {name}", value, "a number")
    for name, value in (*values.items(), *(("per_category", value) for value in scores.per_category)):
        _check(_is_score(value), f"{place} {name}", value, "-1 or 0 to 1")


def _is_score(value: Any) -> bool:
    """Returns whether a value is a score: 0 to 1 but for rounding, or -1 or NaN where it is undefined."""
    if not isinstance(value, float | int) or isinstance(value, bool):
        return False
    return value == -1 or math.isnan(value) or -1e-9 <= value <= 1 + 1e-9


def _check_count(name: str, value: Any, smallest: int = 0) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _check(whole and value >= smallest, name, value, f"a whole number from {smallest}")


def _check_seconds(name: str, value: Any) -> None:
    number = isinstance(value, float | int) and not isinstance(value, bool)
    _check(number and math.isfinite(value) and value >= 0, name, value, "seconds from 0")


def _check(right: bool, name: str, given: Any, expected: str) -> None:
    if not right:
        raise ValueError(f"{name} is {str(given)[:40]!r}: expected {expected}")


def _damaged(path: Path, error: Exception) -> StoreError:
    detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return StoreError(f"{path}: not a readable run ({detail}); delete {path.parent} and run the same command again")
