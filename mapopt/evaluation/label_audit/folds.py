"""Detections of every image by a detector that did not see it: the images in folds, and a lane for each fold.

All lanes are trained at once on what is not in their fold. Pictures that are alike, or of one source, are in one fold:
a lane that has seen a copy has seen its faults.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mapopt.data.images import ImageSet
from mapopt.data.memory import check_memory
from mapopt.data.siblings import source_of
from mapopt.data.splits import Splits
from mapopt.errors import DataError
from mapopt.evaluation.label_audit.settings import FoldSettings
from mapopt.metrics import Detections
from mapopt.passes import steps
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.fleet import Fleet
from mapopt.training.history import Round
from mapopt.training.loop import run_fleet
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


def detect_out_of_fold(
    images: ImageSet,
    alike: Iterable[tuple[int, int]],
    settings: FoldSettings,
    *,
    recipe: Recipe | None = None,
    device: torch.device | str = "cpu",
    observer: Callable[[int, Round], None] | None = None,
) -> Detections:
    """Returns the detections of every image by a detector that was trained on other images.

    Args:
        images: all of them; names are paths, from whose ends sources are known.
        alike: pairs of positions that come into one fold.
        settings: how many folds, and how long each lane trains.
        recipe: what is trained; the tiny detector with its default recipe where none is given.
        device: where.
        observer: called with (lane, round) after every round of every lane.

    Raises:
        DataError: the images cannot be divided into so many folds with objects in each.
    """
    fold = divide_into_folds(groups_alike(images, alike), settings.folds, seed=settings.seed)
    check_memory([len(images) * settings.folds], images.size, flags="--size or --folds")
    tasks, held = [], []
    for lane, own in enumerate(_equally_long(fold, settings.folds)):
        val, test = _in_two(images, own, lane)
        rest = np.setdiff1d(np.arange(len(images)), own)
        splits = Splits(train=images.select(rest), val=images.select(val), test=images.select(test))
        tasks.append(Task(name=f"fold {lane + 1}", splits=splits, recipe=recipe or Recipe()))
        held.append((val, test))
    fleet = Fleet(tasks, [settings.seed + lane for lane in range(settings.folds)], device=device)
    budget = Budget(images=settings.budget(len(images)), rounds=settings.rounds)
    with steps(f"training {settings.folds} lanes for", settings.rounds * settings.folds, "rounds") as work:
        played = itertools.count(1)

        def observed(lane: int, round_: Round) -> None:
            work.advance(next(played))
            if observer is not None:
                observer(lane, round_)

        run_fleet(fleet, [Schedule()] * settings.folds, budget, observer=observed, select="last", tested=False)
    columns = []
    for split, place in (("val", 0), ("test", 1)):
        for lane, result in enumerate(fleet.detect(split)):  # type: ignore[arg-type]
            where = held[lane][place][result.image_ids]
            own = fold[where] == lane  # what only filled a fold up is looked at elsewhere
            columns.append((result.boxes[own], result.scores[own], result.labels[own], where[own]))
    return Detections(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def groups_alike(images: ImageSet, alike: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Returns ``[I]`` numbers, the same for images of one source, of the same pixels, or that are said to be alike."""
    first: dict[str, int] = {}
    same = [(first.setdefault(key, image), image) for image, key in enumerate(images.identities(by_path=False))]
    return groups_by_name(images.annotations.file_names, [*alike, *same])


def groups_by_name(names: Sequence[str], alike: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Returns ``[I]`` numbers, the same for images of one source, by their names, or that are said to be alike.

    >>> groups_by_name(["a.png", "b_aug_1.png", "b_aug_2.png", "c.png"], [(0, 3)]).tolist()
    [0, 1, 1, 0]
    """
    root = np.arange(len(names))

    def find(image: int) -> int:
        while root[image] != image:
            root[image] = root[root[image]]
            image = int(root[image])
        return image

    first: dict[str, int] = {}
    sources = [(first.setdefault(source_of(name), image), image) for image, name in enumerate(names)]
    for left, other in [*alike, *sources]:
        root[find(other)] = find(left)
    return np.unique([find(image) for image in range(len(names))], return_inverse=True)[1].reshape(-1).astype(np.int64)


def divide_into_folds(groups: NDArray[np.int64], folds: int, *, seed: int) -> NDArray[np.int64]:
    """Returns ``[I]`` folds, of about the same number of images each; a group is never divided.

    Args:
        groups: ``[I]`` numbers from 0 up.
        folds: how many.
        seed: decides which.

    Raises:
        DataError: there are fewer groups than folds.

    >>> divide_into_folds(np.array([0, 0, 1, 2, 3]), 2, seed=0).tolist()
    [0, 0, 1, 1, 0]
    """
    sizes = np.bincount(groups)
    if len(sizes) < folds:
        raise DataError(
            f"there are {len(sizes)} different images, which cannot be divided into {folds} folds. Give fewer."
        )
    order = np.random.default_rng([seed, 0xF01D]).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of, filled = np.empty(len(sizes), dtype=np.int64), np.zeros(folds, dtype=np.int64)
    for group in order.tolist():
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[groups]


def _equally_long(fold: NDArray[np.int64], folds: int) -> list[NDArray[np.int64]]:
    """Returns the images of each fold; shorter ones are filled up with images of others, as lanes are equally long."""
    longest = int(np.bincount(fold, minlength=folds).max())
    parts = []
    for number in range(folds):
        own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        parts.append(np.concatenate([own, others[: longest - len(own)]]))
    return parts


def _in_two(images: ImageSet, own: NDArray[np.int64], lane: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns a few images, by which progress is shown, and the others; each have an object."""
    busy = np.isin(own, images.annotations.images[~images.annotations.crowd])
    if busy.sum() < 2:
        raise DataError(f"fold {lane + 1} has fewer than two images with objects. Give fewer --folds.")
    order = np.concatenate([own[busy], own[~busy]])
    count = max(1, min(64, len(own) // 4, int(busy.sum()) - 1))
    return order[:count], order[count:]
