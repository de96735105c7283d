"""Begins a run with the weights of another: for more rounds, for other data, for other classes.

Weights, and running statistics, are taken over; the optimizer, the knobs and the order of the images begin anew. What
belongs to a class goes to the class of the same name, and classes that the checkpoint lacks start afresh.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mapopt.detectors.dropout import DROPOUT
from mapopt.detectors.interface import Detector
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.registry import build_detector
from mapopt.errors import CheckpointError
from mapopt.registry import Choice
from mapopt.training.fleet import Trainer
from mapopt.training.inference import LoadedDetector
from mapopt.training.recipe import Recipe


def start_from(trainer: Trainer, path: Path, *, detector: str | None = None) -> None:
    """Puts the weights of a checkpoint into a fresh trainer.

    Args:
        trainer: whose weights are replaced.
        path: the checkpoint.
        detector: what the detector is, if it is none of ours.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another detector.
        ConfigError: an earlier version wrote it, and the pretrained weights that it began with cannot be had.
    """
    recipe, snapshot = trainer.task.recipe, trainer.snapshot()
    source = LoadedDetector(path, torch.device("cpu"), detector=detector)
    kept = source.checkpoint.recipe
    if _architecture(kept) != _architecture(recipe):
        raise CheckpointError(
            f"{path}: is of the detector '{kept.detector}', not '{recipe.detector}': give --recipe.detector "
            f"{kept.detector}, or leave --start-from out"
        )
    old, new = source.detector, trainer.fleet.detectors[0]
    if (kept.weights is None) != (recipe.weights is None) and old.parts().keys() != new.parts().keys():
        what = "leave --recipe.weights out" if kept.weights is None else f"give --recipe.weights {kept.weights}"
        raise CheckpointError(
            f"{path}: has recipe.weights {kept.weights}, not {recipe.weights}, and norms are frozen with pretrained "
            f"weights alone: {what}, or leave --start-from out"
        )
    names = tuple(trainer.task.splits.train.annotations.category_names)
    fresh = snapshot.tensors["weights"]
    if names == source.categories:
        row = old.weights.detach()[0].to(fresh.device)
        if row.shape != fresh.shape:
            raise CheckpointError(f"{path}: its weights do not fit a '{recipe.detector}'. Train it again.")
    else:
        larger = build_detector(
            Choice(name=recipe.detector, settings=recipe.detector_settings),
            Objective(loss=OWN_LOSS) if recipe.is_detectors_own else Objective(),
            classes=old.classes + 1,
            size=source.size,
            lanes=1,
        )
        row = _carry_over(old, new, fresh, grown=_grown(old, larger), names=(source.categories, names))
    statistics = {f"buffer.{name}": value[0] for name, value in old.buffers().items()}
    tensors = {
        name: statistics[name].to(value.device)
        if name in statistics and statistics[name].shape == value.shape
        else value
        for name, value in snapshot.tensors.items()
    }
    trainer.restore(dataclasses.replace(snapshot, tensors={**tensors, "weights": row}))
    trainer.fleet.renew(0)


def _architecture(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Returns which weights a recipe's detector has; dropout has none."""
    return recipe.detector, {name: value for name, value in recipe.detector_settings.items() if name != DROPOUT}


def content_hash(path: Path) -> str:
    """Returns a hash of what is in a checkpoint's file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _grown(detector: Detector, larger: Detector) -> set[str]:
    """Returns the parts that grow with the classes."""
    shapes = larger.parts()
    return {name for name, shape in detector.parts().items() if shapes[name] != shape}


def _carry_over(
    old: Detector, new: Detector, fresh: Tensor, *, grown: set[str], names: tuple[Sequence[str], Sequence[str]]
) -> Tensor:
    """Returns a row of weights for other classes.

    Args:
        old: holds the weights.
        new: what they are for.
        fresh: the weights of what the old detector has not ``[n]``.
        grown: the parts that grow with the classes.
        names: of the old classes, and of the new ones.
    """
    parts, before = _cut(fresh.clone(), new), _cut(old.weights.detach()[0].to(fresh.device), old)
    for name, part in parts.items():
        if name not in grown:
            part.copy_(before[name])
            continue
        places = _rows_by_class(old.classes_of(name), names[0])
        for key, row in _rows_by_class(new.classes_of(name), names[1]).items():
            if key in places:
                part[row] = before[name][places[key]]
    return torch.cat([part.flatten() for part in parts.values()])


def _cut(row: Tensor, detector: Detector) -> dict[str, Tensor]:
    shapes = detector.parts()
    pieces = row.split([math.prod(shape) for shape in shapes.values()])
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def _rows_by_class(classes: Sequence[int], names: Sequence[str]) -> dict[tuple[str, int], int]:
    """Returns the row of every (class name, position among its rows); rows that all classes share have no name."""
    rows: dict[tuple[str, int], int] = {}
    counts: dict[str, int] = {}
    for row, label in enumerate(classes):
        name = names[label] if label >= 0 else ""
        rows[name, counts.get(name, 0)] = row
        counts[name] = counts.get(name, 0) + 1
    return rows
