"""Makes annotations wrong on purpose, as careless annotators do, to see what wrong annotations cost.

The number of faults is exact, not a probability for each object: two sets of the same fraction are equally wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.errors import ConfigError, DataError, unknown_name

Fault = Literal["missing", "shifted", "swapped", "spurious"]
"""An object without a box, a box beside its object, a box of another class, a box without an object."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

_SHIFT = (0.25, 0.5)
"""Smallest and largest move of a shifted box in each direction, as a fraction of its side: an IoU of .14 to .39."""

_TRIES = 20
_OVERLAP = 0.1
"""A spurious box is put where its overlap with any other is at most this fraction of the smaller, if a try finds it."""


def mislabel(
    annotations: Annotations, *, fraction: float, seed: int, faults: Sequence[Fault] = FAULTS
) -> tuple[Annotations, dict[Fault, int]]:
    """Returns the annotations with a fraction of faults, and how many of each kind there are.

    Crowds stay as they are. The kinds come equally often, the first ones once more where it does not divide.

    Args:
        annotations: the true ones.
        fraction: faults per object, 0 to 1.
        seed: which objects, and how.
        faults: the kinds of faults.

    Raises:
        ConfigError: a setting is out of its range.
        DataError: classes are to be swapped, and there is only one.

    >>> from mapopt.data import ShapesConfig, make_shapes
    >>> true = make_shapes(ShapesConfig(), seed=0, count=20).annotations
    >>> noted, counts = mislabel(true, fraction=0.2, seed=1)
    >>> len(true.ids), len(noted.ids), counts
    (65, 64, {'missing': 4, 'shifted': 3, 'swapped': 3, 'spurious': 3})
    """
    for fault in faults:
        if fault not in FAULTS:
            raise ConfigError(unknown_name("fault of annotations", str(fault), FAULTS))
    if not faults or len(set(faults)) < len(faults):
        raise ConfigError(f"faults is {tuple(faults)!r}: expected at least one of {', '.join(FAULTS)}, each once")
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction is {fraction}: expected 0 to 1 faults per object")
    if "swapped" in faults and len(annotations.category_ids) < 2:
        raise DataError("there is one class, so no box can have another. Leave 'swapped' out of the faults.")
    generator = np.random.default_rng([seed, 0xFA17])
    objects = np.flatnonzero(~annotations.crowd)
    chosen = generator.permutation(objects)[: round(fraction * len(objects))]
    hit = {fault: chosen[start :: len(faults)] for start, fault in enumerate(faults)}
    none = np.empty(0, dtype=np.int64)
    boxes, labels, area = annotations.boxes.copy(), annotations.labels.copy(), annotations.area.copy()

    swapped = hit.get("swapped", none)
    others = generator.integers(1, max(2, len(annotations.category_ids)), len(swapped))
    labels[swapped] = (labels[swapped] + others) % len(annotations.category_ids)

    shifted = hit.get("shifted", none)
    boxes[shifted] = move_aside(annotations, shifted, generator)
    area[shifted] *= _area(boxes[shifted]) / _area(annotations.boxes[shifted])

    wrong = replace(annotations, boxes=boxes, labels=labels, area=area)
    # Size and class of a spurious box are those of an object: the one that the fault was counted for, which stays.
    wrong = add_objects(wrong, *place_spurious(wrong, hit.get("spurious", none), generator))
    kept = np.ones(len(wrong.ids), dtype=bool)
    kept[hit.get("missing", none)] = False
    return wrong.keep(kept), {fault: len(hit[fault]) for fault in faults}


def move_aside(
    annotations: Annotations, chosen: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Returns boxes moved aside, cut at the edge of the image."""
    boxes = annotations.boxes[chosen]
    sides = boxes[:, 2:] - boxes[:, :2]
    direction = generator.choice([-1.0, 1.0], sides.shape)
    move = direction * generator.uniform(*_SHIFT, sides.shape) * sides
    return np.clip(boxes + np.concatenate([move, move], axis=1), 0, limits_of(annotations, annotations.images[chosen]))


def place_spurious(
    annotations: Annotations, chosen: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns image, label and box of spurious boxes: copies of objects' boxes, put where little else is."""
    images, placed = np.empty(len(chosen), dtype=np.int64), np.empty((len(chosen), 4))
    for row, model in enumerate(chosen):
        tries = generator.integers(0, len(annotations), _TRIES)
        # The box's size as a fraction of its image, so that it fits into any other.
        fraction = annotations.boxes[model] / limits_of(annotations, annotations.images[[model]])[0]
        sides = np.clip(fraction[2:] - fraction[:2], 0, 1)
        corners = generator.uniform(0, 1, (_TRIES, 2)) * (1 - sides)
        candidates = np.concatenate([corners, corners + sides], axis=1) * limits_of(annotations, tries)
        covered = [
            _covered(box, annotations.boxes[annotations.images == image])
            for image, box in zip(tries, candidates, strict=True)
        ]
        free = np.flatnonzero(np.array(covered) <= _OVERLAP)
        best = free[0] if len(free) else np.argmin(covered)
        images[row], placed[row] = tries[best], candidates[best]
    return images, annotations.labels[chosen], placed


def add_objects(
    annotations: Annotations, images: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float64]
) -> Annotations:
    """Returns the annotations with more objects at their end."""
    added = len(images)
    first = int(annotations.ids.max(initial=0)) + 1
    return replace(
        annotations,
        boxes=np.concatenate([annotations.boxes, boxes]),
        labels=np.concatenate([annotations.labels, labels]),
        images=np.concatenate([annotations.images, images]),
        crowd=np.concatenate([annotations.crowd, np.zeros(added, dtype=bool)]),
        area=np.concatenate([annotations.area, _area(boxes)]),
        ids=np.concatenate([annotations.ids, np.arange(first, first + added)]),
    )


def _covered(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Returns the largest fraction of the smaller that a box and any of the others ``[n, 4]`` have in common."""
    overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    smaller = np.minimum(_area(box[None]), _area(others))
    return float((np.clip(overlap, 0, None).prod(axis=1) / smaller).max(initial=0.0))


def limits_of(annotations: Annotations, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the farthest corners that boxes in some images may have, ``[n, 4]``."""
    sides = np.stack([annotations.widths[images], annotations.heights[images]], axis=1).astype(np.float64)
    return np.concatenate([sides, sides], axis=1)


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
