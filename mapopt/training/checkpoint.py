"""Checkpoints: a state with what is needed to go on or to use the detector, in files that cannot execute code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mapopt.errors import CheckpointError
from mapopt.files import write_bytes
from mapopt.former_names import translate
from mapopt.settings import to_mapping
from mapopt.training.engine import Snapshot
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe

VERSION = 1


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
            "format": "mapopt checkpoint",
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
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Reads a checkpoint.

        Raises:
            CheckpointError: there is none, it is damaged, or another version wrote it.
        """
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; expected a checkpoint, such as best.pt of a training run")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            # torch's own words are about its loader, and long.
            raise CheckpointError(
                f"{path}: cannot be read as a checkpoint; it is damaged, or `mapopt train` did not write it"
            ) from error
        if not isinstance(content, dict) or content.get("format") != "mapopt checkpoint":
            raise CheckpointError(f"{path}: not a checkpoint of mapopt; expected one that `mapopt train` wrote")
        if content.get("version") != VERSION:
            raise CheckpointError(
                f"{path}: a checkpoint of version {content.get('version')}; this mapopt reads version {VERSION}: "
                "use the mapopt that wrote it, or train again"
            )
        content = {**content, **translate({name: content[name] for name in ("history", "settings")}, "checkpoint")}
        state = content["state"]
        recipe, knobs = _without_limit(path, content["recipe"], state["knobs"])
        return cls(
            snapshot=Snapshot(
                content["tensors"], state["seed"], state["seen"], Knobs.from_record(knobs), state["diverged"]
            ),
            recipe=Recipe(**recipe),
            categories=tuple(content["categories"]),
            size=(content["size"][0], content["size"][1]),
            history=tuple(Round.from_dict(record) for record in content["history"]),
            settings=content["settings"],
        )


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


def _without_limit(
    path: Path, recipe: dict[str, Any], knobs: dict[str, float]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns recipe and knobs as they are now: how many boxes are reported was the recipe's before it was a knob.

    Raises:
        CheckpointError: the limit is more than the knob can be.
    """
    if "limit" not in recipe:
        return recipe, knobs
    limit, highest = recipe["limit"], ranges()["detections"].high
    if limit > highest:
        raise CheckpointError(
            f"{path}: its recipe reports up to {limit} boxes per image; the knob `detections` ends at {highest:.0f}: "
            "use the mapopt that wrote it, or train again"
        )
    return {name: value for name, value in recipe.items() if name != "limit"}, {"detections": float(limit), **knobs}
