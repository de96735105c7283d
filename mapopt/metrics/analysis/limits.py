"""What limits AP: what it would be with the same detections if their boxes, or their ranking, were perfect.

A class loss moves scores and a box loss moves boxes, so the two say how much is left for each. Both keep what was
detected: an object that no box is near stays missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.evaluator import evaluate
from mapopt.metrics.overlaps import Pairs, image_pairs
from mapopt.metrics.pairs import check_pair

NEAR = 0.3
"""The IoU from which a detection is taken to mean an object."""
_LOWEST = 0.5
"""The lowest threshold of AP: a pair below it is never a hit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """AP as it is, and what it would be. NaN where there is nothing to find."""

    ap: float
    perfect_boxes: float
    """With the object's own box in place of every detection that is near one of its category."""
    perfect_ranking: float
    """With the detections ranked by how well they fit, each object's second and further ones last."""

    @property
    def limit(self) -> Literal["box", "class"]:
        """What AP would gain more from: "box" for perfect boxes, "class" for a perfect ranking."""
        return "box" if self.perfect_boxes >= self.perfect_ranking else "class"


def measure_limits(truth: GroundTruth, detections: Detections, *, near: float = NEAR) -> Limits:
    """Returns AP@[.5:.95] as it is, with perfect boxes and with a perfect ranking.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        near: The IoU from which a detection is taken to mean an object.

    Raises:
        ConfigError: `near` is no IoU above 0.
        DataError: As in `evaluate`.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    >>> detections = Detections([[0, 0, 10, 4], [0, 0, 10, 8]], [0.9, 0.8], [1, 1], [1, 1])
    >>> limits = measure_limits(truth, detections)
    >>> round(limits.ap, 3), round(limits.perfect_boxes, 3), round(limits.perfect_ranking, 3), limits.limit
    (0.35, 1.0, 0.7, 'box')
    """
    truth, detections = check_pair(truth, detections)
    if not 0 < near <= 1:
        raise ConfigError(f"near is {near}: expected an IoU above 0, up to 1")
    variants = (detections, with_perfect_boxes(truth, detections, near=near), with_perfect_ranking(truth, detections))
    own, boxes, ranking = (float(evaluate(truth, variant, mode="reward").ap) for variant in variants)
    undefined = own < 0
    return Limits(
        ap=np.nan if undefined else own,
        perfect_boxes=np.nan if undefined else boxes,
        perfect_ranking=np.nan if undefined else ranking,
    )


def with_perfect_boxes(truth: GroundTruth, detections: Detections, *, near: float = NEAR) -> Detections:
    """Returns the detections with the box of the object that each overlaps most, where that is of its category.

    Args:
        truth: The annotated boxes; crowds are no objects.
        detections: The boxes that a detector reports.
        near: The IoU from which a detection gets the object's box; others keep their own.
    """
    pairs = _of_one_category(truth, detections, near)
    order = np.lexsort((pairs.truth, pairs.iou))  # the last write wins: the largest overlap
    boxes = detections.boxes.copy()
    boxes[pairs.detection[order]] = truth.boxes[pairs.truth[order]]
    return Detections(boxes, detections.scores, detections.labels, detections.image_ids)


def with_perfect_ranking(truth: GroundTruth, detections: Detections) -> Detections:
    """Returns the detections with their IoU as score where they are an object's best, and below 0 elsewhere.

    Objects take their detections one to one, the largest overlaps first; the others keep their order at the end.
    """
    pairs = _of_one_category(truth, detections, _LOWEST)
    order = np.argsort(-pairs.iou, kind="stable")
    place = np.empty(len(detections))
    place[np.argsort(detections.scores, kind="stable")] = np.arange(len(detections))
    scores = place - len(detections)
    taken, hit = np.zeros(len(detections), bool), np.zeros(len(truth), bool)
    for row, target, iou in zip(
        pairs.detection[order].tolist(), pairs.truth[order].tolist(), pairs.iou[order].tolist(), strict=True
    ):
        if not taken[row] and not hit[target]:
            taken[row] = hit[target] = True
            scores[row] = iou
    return Detections(detections.boxes, scores, detections.labels, detections.image_ids)


def _of_one_category(truth: GroundTruth, detections: Detections, minimum: float) -> Pairs:
    pairs = image_pairs(truth, detections, minimum=minimum)
    alike: NDArray[np.bool_] = truth.labels[pairs.truth] == detections.labels[pairs.detection]
    return pairs.where(alike & ~truth.crowd[pairs.truth])
