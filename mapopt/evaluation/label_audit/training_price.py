"""What a kind of finding costs in training: lanes on the labels as they are beside lanes on labels with it mended.

All lanes of a seed have the same initialization, order and augmentation, so that their difference is the labels'. They
are measured on the val set, whose labels stay as they are. The last weights count: nothing is selected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.findings import BY_MODEL, TrainedPrice
from mapopt.data.images import ImageSet
from mapopt.data.splits import Splits, divide
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.detecting import fitting_size
from mapopt.evaluation.label_audit.pool import Pool
from mapopt.evaluation.label_audit.settings import FoldSettings
from mapopt.evaluation.label_audit.suspects import Suspect
from mapopt.metrics import Detections
from mapopt.metrics.statistics import paired_difference
from mapopt.stopwatch import Stopwatch
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.fleet import Fleet
from mapopt.training.loop import run_fleet
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

_PARTS = ("train", "val", "test")


def price_by_training(
    pool: Pool,
    detections: Detections,
    suspects: Sequence[Suspect],
    settings: FoldSettings,
    *,
    seeds: int,
    device: torch.device | str = "cpu",
) -> tuple[TrainedPrice, ...]:
    """Returns what val AP gains when lanes are trained on labels in which all suspects of a kind are mended.

    Args:
        pool: images and labels; those of its train set are trained on, those of its val set measured.
        detections: what the suspects rest on, and what mends them.
        suspects: of all sets; those of the train set are mended, a kind at a time, and all together.
        settings: size and length of the training.
        seeds: lanes for each kind, and as many on the labels as they are.
        device: where they train.

    Raises:
        ConfigError: there is no train or no val set.
    """
    check_sets(pool)
    images = _split(pool, settings.size or fitting_size(pool.annotations))
    of_train = [each for each in suspects if pool.parts[pool.part[each.image]] == "train"]
    kinds = [kind for kind in BY_MODEL if any(each.kind == kind for each in of_train)]
    if not kinds:
        return ()
    labels = {"": pool.annotations}
    for kind in (*kinds, "all"):
        chosen = [each for each in of_train if kind in (each.kind, "all")]
        labels[kind] = follow(pool.annotations, detections, chosen)
    train = np.flatnonzero(pool.part == pool.parts.index("train"))
    tasks, lanes = [], []
    for kind, noted in labels.items():
        mended = dataclasses.replace(images.train, annotations=noted.select(train))
        splits = Splits(train=mended, val=images.val, test=images.test)
        tasks += [Task(name=kind or "as labeled", splits=splits, recipe=Recipe())] * seeds
        lanes += [settings.seed + number for number in range(seeds)]
    watch = Stopwatch()
    fleet = Fleet(tasks, lanes, device=device)
    budget = Budget(images=settings.budget(len(pool.annotations)), rounds=settings.rounds)
    results = run_fleet(fleet, [Schedule()] * len(lanes), budget, select="last", tested=False)
    ap = {
        kind: {lane: results[place * seeds + lane].val.ap for lane in range(seeds)} for place, kind in enumerate(labels)
    }
    seconds = watch.processor / len(labels)
    prices = []
    for kind in (*kinds, "all"):
        gain = paired_difference(ap[kind], ap[""], seed=settings.seed)
        assert gain is not None  # there are pairs
        prices.append(
            TrainedPrice(
                kind=kind,
                findings=sum(kind in (each.kind, "all") for each in of_train),
                seeds=seeds,
                images=budget.images,
                before=float(np.mean(list(ap[""].values()))),
                gain=gain.value,
                low=gain.low,
                high=gain.high,
                processor_seconds=2 * seconds,
            )
        )
    return tuple(prices)


def check_sets(pool: Pool) -> None:
    """Raises ConfigError unless there are images to train on and others to measure on."""
    for name in ("train", "val"):
        if name not in pool.parts or not (pool.part == pool.parts.index(name)).any():
            raise ConfigError(
                f"there is no {name} set, but the price by training is of lanes on the train set, measured on the val "
                "set: divide the images with mapopt split, or leave it out"
            )


def follow(annotations: Annotations, detections: Detections, suspects: Sequence[Suspect]) -> Annotations:
    """Returns the labels as detections would have them: suspects mended, boxes cut at the edge of their image."""
    boxes, labels, area = annotations.boxes.copy(), annotations.labels.copy(), annotations.area.copy()
    keep = np.ones(len(labels), dtype=bool)
    added = []
    for each in suspects:
        if each.kind == "overlooked":
            added.append(each)
        elif each.kind == "swapped_class":
            labels[each.label] = each.category
        elif each.kind == "badly_placed":
            boxes[each.label] = _inside(annotations, detections, each)
            area[each.label] = (boxes[each.label, 2:] - boxes[each.label, :2]).prod()
        else:
            keep[each.label] = False
    new = np.array([_inside(annotations, detections, each) for each in added]).reshape(-1, 4)
    first = int(annotations.ids.max(initial=0)) + 1
    changed = dataclasses.replace(
        annotations,
        boxes=np.concatenate([boxes, new]),
        labels=np.concatenate(
            [labels, np.array([detections.labels[each.detection] for each in added], dtype=np.int64)]
        ),
        images=np.concatenate([annotations.images, np.array([each.image for each in added], dtype=np.int64)]),
        crowd=np.concatenate([annotations.crowd, np.zeros(len(added), dtype=bool)]),
        area=np.concatenate([area, (new[:, 2:] - new[:, :2]).prod(axis=1)]),
        ids=np.concatenate([annotations.ids, np.arange(first, first + len(added))]),
    )
    return changed.keep(np.concatenate([keep, np.ones(len(added), dtype=bool)]))


def _inside(annotations: Annotations, detections: Detections, suspect: Suspect) -> np.ndarray:
    """Returns the box that is seen, cut at the edge of its image."""
    width, height = annotations.widths[suspect.image], annotations.heights[suspect.image]
    cut: np.ndarray = np.clip(detections.boxes[suspect.detection], 0, [width, height, width, height])
    return cut


def _split(pool: Pool, size: tuple[int, int]) -> Splits:
    """Returns the sets to train on and to measure; without a test set, which nobody reads, val is halved."""
    rows = {name: np.flatnonzero(pool.part == number) for number, name in enumerate(pool.parts)}
    if not len(rows.get("test", [])):
        first, second = divide(len(rows["val"]), seed=0)
        rows["val"], rows["test"] = rows["val"][first], rows["val"][second]
    train, val, test = (ImageSet.read(pool.annotations.select(rows[name]), size=size) for name in _PARTS)
    return Splits(train=train, val=val, test=test)
