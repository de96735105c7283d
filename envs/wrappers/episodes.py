"""Episodes as arrays, and their file: what offline learning reads, with nothing in it but numbers and JSON.

All episodes lie one after the other in ``PATH.npz``; ``PATH.json`` says how long each is, where it came from, and what
the other file's bytes hash to, so that two files of different writes are never taken for one.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from mapopt.errors import ConfigError, StoreError, shown
from mapopt.files import read_record, write_bytes, write_record
from mapopt.former_names import translate
from mapopt.paths import read_bytes

FORMAT, VERSION = "mapopt episodes", 2
"""Of the description of logged episodes; those of version 1 had no checksum of their own and are still read."""

MAX_FILE = 4 * 2**30
"""Bytes of a file of logged numbers, packed and unpacked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode of T steps."""

    observations: np.ndarray
    """``[T + 1, ...]``: what was seen before each step, and at the end."""
    actions: np.ndarray
    """``[T, ...]``"""
    rewards: np.ndarray
    """float64 ``[T]``"""
    terminations: np.ndarray
    """bool ``[T]``"""
    truncations: np.ndarray
    """bool ``[T]``"""
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Name -> float64 ``[T]``: the numbers in the steps' infos, ``knobs.lr`` being ``info["knobs"]["lr"]``; NaN where a
    step did not have one."""
    start: Mapping[str, Any] = field(default_factory=dict)
    """The first info's numbers and texts: of an environment of ours its instance, training seed and description."""
    seed: int | None = None
    """What the environment was reset with."""

    def __post_init__(self) -> None:
        steps = len(self.rewards)
        lengths = {f"infos[{name!r}]": len(values) for name, values in self.infos.items()}
        for name, length in {
            "observations": len(self.observations) - 1,
            "actions": len(self.actions),
            "terminations": len(self.terminations),
            "truncations": len(self.truncations),
            **lengths,
        }.items():
            if length != steps or not steps:
                raise ConfigError(f"{name} of an episode fit {length} steps, rewards {steps}: expected equally many")


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """Episodes of one environment."""

    episodes: tuple[Episode, ...]
    env: str
    """Id of the environment, or its class where it has none."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What it was made with, as plain values."""

    def __len__(self) -> int:
        return len(self.episodes)

    def save(self, path: str | Path) -> None:
        """Writes ``PATH.npz`` and ``PATH.json``, each in one step.

        Raises:
            ConfigError: there is no episode, or episodes differ in what their steps hold.
            StoreError: a file cannot be written.
        """
        if not self.episodes:
            raise ConfigError("there is no episode to write: play at least one to its end")
        names = sorted({name for episode in self.episodes for name in episode.infos})
        try:
            arrays = {
                column: np.concatenate([getattr(episode, column) for episode in self.episodes]) for column in _COLUMNS
            }
        except ValueError as error:
            raise ConfigError(f"episodes differ in shape ({error}): write those of one environment") from None
        for name in names:
            parts = [episode.infos.get(name, np.full(len(episode.rewards), np.nan)) for episode in self.episodes]
            arrays[f"info:{name}"] = np.concatenate(parts).astype(np.float64)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
        record = {
            "format": FORMAT,
            "version": VERSION,
            "sha256": hashlib.sha256(content).hexdigest(),
            "env": self.env,
            "arguments": self.arguments,
            "episodes": [
                {
                    "steps": len(episode.rewards),
                    "seed": episode.seed,
                    "start": dict(episode.start),
                    "infos": sorted(episode.infos),
                }
                for episode in self.episodes
            ],
        }
        data, description = _files(path)
        write_bytes(data, content)
        write_record(description, record)

    @classmethod
    def load(cls, path: str | Path) -> Episodes:
        """Reads what `save` wrote: the same arrays, bit for bit.

        Raises:
            StoreError: a file is missing or damaged, the two are not of the same write, or of another version.
        """
        data, description = _files(path)
        record = read_record(
            description,
            what="episodes that Episodes.save wrote, in two files",
            format=FORMAT,
            version=VERSION,
            unsealed=(1,),
            remedy="Log them again.",
        )
        content = read_bytes(data, what="logged numbers; episodes are two files", limit=MAX_FILE, error=StoreError)
        if hashlib.sha256(content).hexdigest() != record.get("sha256"):
            raise StoreError(f"{data}: is not the file that {description.name} was written with. Copy both again.")
        record = translate(record, "episodes")
        try:
            columns = _columns_of(content)
            return cls(episodes=_cut(columns, record["episodes"]), env=record["env"], arguments=record["arguments"])
        except (KeyError, TypeError, ValueError, EOFError, OSError, BadZipFile, zlib.error, ConfigError) as error:
            raise StoreError(f"{description}: damaged ({shown(error)}). Write the episodes again.") from None


_COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations")


def _columns_of(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, which are bounded before they are unpacked."""
    with ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_FILE:
            raise ValueError(f"its arrays have {unpacked:,} bytes, more than {MAX_FILE:,}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _files(path: str | Path) -> tuple[Path, Path]:
    """Returns the two files of a path, which may have either ending or none."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".npz", ".json") else path
    return stem.with_name(f"{stem.name}.npz"), stem.with_name(f"{stem.name}.json")


def _cut(columns: Mapping[str, np.ndarray], records: list[dict[str, Any]]) -> tuple[Episode, ...]:
    episodes, seen, first = [], 0, 0
    for record in records:
        steps = int(record["steps"])
        last = first + steps
        episodes.append(
            Episode(
                observations=columns["observations"][seen : seen + steps + 1],
                actions=columns["actions"][first:last],
                rewards=columns["rewards"][first:last],
                terminations=columns["terminations"][first:last],
                truncations=columns["truncations"][first:last],
                infos=translate({name: columns[f"info:{name}"][first:last] for name in record["infos"]}, "info"),
                start=record["start"],
                seed=record["seed"],
            )
        )
        seen, first = seen + steps + 1, last
    return tuple(episodes)
