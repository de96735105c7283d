"""Checks of where boxes lie: all off in the same way, as by another convention, or far larger than any object."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics import Detections, GroundTruth
from mapopt.metrics.overlaps import best_of_each, image_pairs
from mapopt.training.diagnosis.case import Case, Split
from mapopt.training.diagnosis.findings import Finding, measured

_NEAR = 0.3
"""IoU from which a detection is taken to mean an object, as for `mapopt.metrics.Limits`."""
_FEWEST = 20
"""Pairs below which nothing is said."""
_TIMES = 4.0
"""How many times the area of the largest object a box must have to count as exploded."""


def check_convention(case: Case) -> Iterator[Finding]:
    """Yields by how much boxes are off in the same way in val, in sizes of the object, where they are not in train."""
    offsets = {split: _offsets(case.truth(split), case.detections(split)) for split in _SPLITS}
    if min(len(rows) for rows in offsets.values()) < _FEWEST:
        return
    off = np.median(offsets["val"], axis=0) - np.median(offsets["train"], axis=0)
    worst = int(np.abs(off).argmax())
    signed = _described(worst, float(off[worst]))
    yield measured(
        "convention",
        float(np.abs(off[worst])),
        f"the boxes of val are annotated by another convention than those of train: beside the detections, which fit "
        f"the train images, they are {signed}",
        "write the boxes of all sets alike: corners or sizes, in pixels of the same image, from 0 or from 1",
    )


def check_explosion(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the best-scored boxes that are far larger than any object."""
    detections, truth = case.detections("val"), case.truth("val")
    if not len(detections) or not len(truth):
        return
    areas = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1)
    best = np.argsort(-detections.scores, kind="stable")[: max(_FEWEST, len(truth))]
    own = (detections.boxes[best, 2:] - detections.boxes[best, :2]).prod(axis=1)
    fraction = float((own > _TIMES * areas.max()).mean())
    yield measured(
        "exploded",
        fraction,
        f"{fraction:.0%} of the {len(best)} best-scored boxes have more than {_TIMES:g} times the area of the largest "
        "object: widths and heights have run away",
        f"--knobs.lr {case.knobs.get('lr') / 10:.1g}, or --knobs.box-weight {case.knobs.box_weight / 2:g}",
    )


def _described(axis: int, off: float) -> str:
    """Says how annotations lie beside detections that are off by `off` of an object's size, or its log ratio."""
    if axis < 2:
        away = (("right", "left"), ("below", "above"))[axis][off > 0]
        return f"{abs(off):.0%} of an object's {('width', 'height')[axis]} {f'to the {away}' if axis == 0 else away}"
    return f"{np.expm1(abs(off)):.0%} {'larger' if off < 0 else 'smaller'} in {('width', 'height')[axis - 2]}"


_SPLITS: tuple[Split, ...] = ("train", "val")


def _offsets(truth: GroundTruth, detections: Detections) -> NDArray[np.float64]:
    """Returns ``[n, 4]`` of each object's best box: its center's distance over the object's size, and log ratios."""
    pairs = image_pairs(truth, detections, minimum=_NEAR)
    alike = truth.labels[pairs.truth] == detections.labels[pairs.detection]
    pairs = pairs.where(alike & ~truth.crowd[pairs.truth])
    # Of the boxes near an object the best-scored counts: the best-placed would hide an offset.
    chosen = best_of_each(pairs.truth, detections.scores[pairs.detection], -pairs.detection)
    own, detected = truth.boxes[pairs.truth[chosen]], detections.boxes[pairs.detection[chosen]]
    size, other = own[:, 2:] - own[:, :2], detected[:, 2:] - detected[:, :2]
    size, other = np.maximum(size, 1e-6), np.maximum(other, 1e-6)
    middle = (detected[:, :2] + detected[:, 2:] - own[:, :2] - own[:, 2:]) / 2
    offsets: NDArray[np.float64] = np.concatenate([middle / size, np.log(other / size)], axis=1)
    return offsets
