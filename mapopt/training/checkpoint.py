"""Checkpoints: a state with what is needed to go on, or to use the detector, in files that cannot execute code.

``last.pt`` holds the whole state of a run, ``best.pt`` the weights that detect and nothing of the optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mapopt.errors import CheckpointError, ConfigError, shown
from mapopt.former_names import translate
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.evaluated import EVALUATED
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe
from mapopt.training.snapshots import Snapshot
from mapopt.weights import read_weights, write_weights

FORMAT, VERSION = "mapopt checkpoint", 2

UNSEALED = (1,)
"""Earlier versions, which had no checksum and are still read."""

_REMEDY = "Use the mapopt that wrote it, copy it again, or train again."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A detector at a moment of its training."""

    snapshot: Snapshot
    recipe: Recipe
    categories: tuple[str, ...]
    size: tuple[int, int]
    """(height, width) of the network's input."""
    history: tuple[Round, ...]
    settings: dict[str, Any]
    """The command's own flags, so that a resumed run can be held to them."""

    def save(self, path: Path) -> None:
        """Writes the checkpoint atomically."""
        knobs = self.snapshot.knobs.as_dict()
        content = {
            "format": FORMAT,
            "version": VERSION,
            "tensors": {name: tensor.cpu() for name, tensor in self.snapshot.tensors.items()},
            "state": {
                "seed": self.snapshot.seed,
                "seen": self.snapshot.seen,
                "knobs": knobs,
                "diverged": self.snapshot.diverged,
            },
            "recipe": to_mapping(self.recipe),
            "categories": list(self.categories),
            "size": list(self.size),
            "history": [played.as_dict() for played in self.history],
            "settings": self.settings,
        }
        write_weights(path, content)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a checkpoint.

        Raises:
            CheckpointError: there is none, it is damaged, or another version wrote it.
        """
        content = read_weights(
            path,
            what="a checkpoint that `mapopt train` wrote, such as best.pt",
            format=FORMAT,
            version=VERSION,
            unsealed=UNSEALED,
            remedy=_REMEDY,
            error=CheckpointError,
        )
        try:
            return _checkpoint_of(path, translate(content, "checkpoint"))
        except (ConfigError, AttributeError) as error:
            raise CheckpointError(f"{error} {_REMEDY}") from None


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a checkpoint's file says of a snapshot beside its tensors."""

    seed: int
    seen: int
    knobs: dict[str, float]
    diverged: bool

    def __post_init__(self) -> None:
        if self.seen < 0:
            raise ConfigError(f"seen is {self.seen}: expected 0 images or more.")


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What a checkpoint's file holds beside its tensors, format and version."""

    state: _State
    recipe: Recipe
    categories: tuple[str, ...]
    size: tuple[int, int]
    history: tuple[dict[str, Any], ...]
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ConfigError(f"size is {self.size}: expected a height and a width of at least 1.")
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ConfigError("categories are none, or one is there twice: expected different names.")


def _checkpoint_of(path: Path, content: dict[str, Any]) -> Checkpoint:
    """Returns the checkpoint that a file's content describes.

    Raises:
        ConfigError: a part is missing, unknown, of a wrong type or out of its range.
        CheckpointError: a part is not what this version can hold.
    """
    described = {name: value for name, value in content.items() if name not in ("format", "version", "tensors")}
    described = _without_limit(path, described)
    record: _Record = from_mapping(_Record, described, str(path))
    history = tuple(Round.from_dict(played, f"{path}: history.{i}") for i, played in enumerate(record.history))
    if [played.index for played in history] != list(range(len(history))):
        raise ConfigError(f"{path}: history has not the rounds 0, 1, 2 and so on.")
    try:
        knobs = Knobs.from_record(record.state.knobs).settled()
    except ConfigError as error:
        raise ConfigError(f"{path}: state.knobs: {error}.") from None
    return Checkpoint(
        snapshot=Snapshot(
            _checked_tensors(path, content.get("tensors")),
            record.state.seed,
            record.state.seen,
            knobs,
            record.state.diverged,
        ),
        recipe=record.recipe,
        categories=record.categories,
        size=record.size,
        history=history,
        settings=_settings_of_today(record, described["recipe"]),
    )


def _settings_of_today(record: _Record, recipe: Any) -> dict[str, Any]:
    """Returns what a run was begun with, its recipe as a run of today would write it."""
    if record.settings.get("recipe") != recipe:
        return record.settings
    return {**record.settings, "recipe": to_mapping(record.recipe)}


def _checked_tensors(path: Path, tensors: Any) -> dict[str, torch.Tensor]:
    """Returns a snapshot's tensors, which are by name; an engine holds them against its own shapes and types."""
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise ConfigError(f"{path}: tensors is {shown(tensors)}: expected tensors by name.")
    rows = {name: tensors[name] for name in ("weights", "average", EVALUATED) if name in tensors}
    if "weights" not in rows and EVALUATED not in rows:
        raise ConfigError(f"{path}: tensors has neither weights nor {EVALUATED}, one of which is needed to detect.")
    for name, tensor in rows.items():
        if tensor.dtype != torch.float32 or tensor.dim() != 1:
            raise ConfigError(f"{path}: tensors.{name} is no list of float32 numbers.")
    if len({tensor.shape for tensor in rows.values()}) > 1:
        raise ConfigError(f"{path}: tensors.{' and tensors.'.join(rows)} have different lengths.")
    return tensors


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """Keeps ``last.pt`` and ``best.pt`` of one run."""

    folder: Path
    recipe: Recipe
    categories: tuple[str, ...]
    size: tuple[int, int]
    settings: dict[str, Any]

    def save(self, name: str, snapshot: Snapshot, history: Sequence[Round]) -> None:
        """Writes ``NAME.pt``."""
        self.checkpoint(snapshot, history).save(self.folder / f"{name}.pt")

    def checkpoint(self, snapshot: Snapshot, history: Sequence[Round]) -> Checkpoint:
        """Returns a state of the run with all that belongs to it."""
        return Checkpoint(
            snapshot=snapshot,
            recipe=self.recipe,
            categories=self.categories,
            size=self.size,
            history=tuple(history),
            settings=self.settings,
        )


def _without_limit(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Returns recipe and knobs as they are now: how many boxes are reported was the recipe's before it was a knob.

    Raises:
        CheckpointError: the limit is more than the knob can be.
    """
    recipe, state = content.get("recipe"), content.get("state")
    if not isinstance(recipe, dict) or not isinstance(state, dict) or "limit" not in recipe:
        return content
    limit, highest = recipe["limit"], ranges()["detections"].high
    if type(limit) is not int or limit > highest:
        raise CheckpointError(
            f"{path}: its recipe reports up to {shown(limit)} boxes per image; the knob `detections` ends at "
            f"{highest:.0f}: use the mapopt that wrote it, or train again"
        )
    recipe = {name: value for name, value in recipe.items() if name != "limit"}
    return {**content, "recipe": recipe, "state": {**state, "knobs": {"detections": float(limit), **state["knobs"]}}}
