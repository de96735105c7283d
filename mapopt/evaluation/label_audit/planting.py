"""Labels with faults planted into them, of which it is known what and where they are.

The audit plants them to learn how its detector sees each kind, and the benchmark to count how many are found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.faults import add_objects, limits_of, move_aside, place_spurious
from mapopt.metrics.overlaps import pair_iou

Planted = Literal["overlooked", "badly_placed", "swapped_class", "labeled_twice", "spurious"]
"""What is planted, by the kind of finding that it should become."""

PLANTED: tuple[Planted, ...] = get_args(Planted)

_JITTER = 0.08
_MIN_OVERLAP = 0.7


@dataclass(frozen=True, eq=False, kw_only=True)
class Faults:
    """Labels with faults, and which they are.

    Attributes:
        annotations: ``N`` labels, faults included.
        kind: ``[N]`` the fault of each label; empty where it has none.
        origin: int64 ``[N]``, the true label that it came from; -1 where it came from none.
        removed: int64 ``[m]``, the true labels that are missing.
    """

    annotations: Annotations
    kind: NDArray[np.str_]
    origin: NDArray[np.int64]
    removed: NDArray[np.int64]


def plant(true: Annotations, *, fraction: float, seed: int, kinds: tuple[Planted, ...] = PLANTED) -> Faults:
    """Plants faults, each kind into as many labels, none into a label that has another.

    A box is moved by a quarter to a half of its sides, with an IoU of .14 to .39; a second label has an IoU of .7 or
    more with the first; a spurious one has the size and class of another, where little else is.

    Args:
        true: the labels; crowds stay as they are.
        fraction: of the labels that get a fault of each kind.
        seed: which, and how.
        kinds: what is planted; without a second class none is swapped.
    """
    random = np.random.default_rng([seed, 0xAD17])
    objects = np.flatnonzero(~true.crowd)
    count, classes = round(fraction * len(objects)), len(true.category_ids)
    chosen = random.permutation(objects)[: len(kinds) * count]
    hit = {kind: chosen[start :: len(kinds)] for start, kind in enumerate(kinds)}
    boxes, labels, area = true.boxes.copy(), true.labels.copy(), true.area.copy()
    kind = np.full(len(true.ids), "", dtype="<U16")
    for name in ("overlooked", "badly_placed", "swapped_class"):
        kind[hit.get(name, _NONE)] = name
    rows = hit.get("swapped_class", _NONE)
    if classes > 1:
        labels[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    else:
        kind[rows] = ""
    rows = hit.get("badly_placed", _NONE)
    boxes[rows] = move_aside(true, rows, random)
    area[rows] = (boxes[rows, 2:] - boxes[rows, :2]).prod(axis=1)
    noted = replace(true, boxes=boxes, labels=labels, area=area)
    rows = hit.get("labeled_twice", _NONE)
    noted = add_objects(noted, true.images[rows], true.labels[rows], _jittered(true, rows, random))
    placed = place_spurious(true, hit.get("spurious", _NONE), random)
    noted = add_objects(noted, *placed)
    added = np.array(["labeled_twice"] * len(rows) + ["spurious"] * len(placed[0]), dtype="<U16")
    kind = np.concatenate([kind, added])
    origin = np.concatenate([np.arange(len(true.ids)), rows, np.full(len(placed[0]), -1)])
    kept = np.flatnonzero(kind != "overlooked")
    return Faults(
        annotations=noted.keep(kept), kind=kind[kept], origin=origin[kept], removed=hit.get("overlooked", _NONE)
    )


_NONE = np.zeros(0, dtype=np.int64)


def _jittered(true: Annotations, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
    """Returns boxes that are nearly those of some objects."""
    boxes, limits = true.boxes[rows].copy(), limits_of(true, true.images[rows])
    for row, box in enumerate(true.boxes[rows]):
        while True:
            moved = box + random.uniform(-_JITTER, _JITTER, 4) * np.tile(box[2:] - box[:2], 2)
            boxes[row] = np.clip(moved, 0, limits[row])
            if pair_iou(boxes[row : row + 1], box[None])[0] >= _MIN_OVERLAP:
                break
    return boxes
