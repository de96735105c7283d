"""Which category is taken for which: the confusion matrix of a detector at one score and one IoU threshold.

AP never compares boxes of different categories; here matching is blind to them, so that a cat found as a dog is one
confusion and not a false dog and a missed cat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError, unknown_name
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.layout import lay_out
from mapopt.metrics.overlaps import ALMOST_ONE, best_of_each, image_pairs


@dataclass(frozen=True, eq=False, kw_only=True)
class ConfusionMatrix:
    """Counts of true against predicted categories; made by `confusion_matrix`.

    Attributes:
        iou: The IoU threshold.
        score_threshold: The score threshold.
        categories: ``[k]`` category ids, the order of rows and columns.
        counts: ``[k + 1, k + 1]`` rows are true, columns predicted categories; the last row is background (false
            positives), the last column nothing (ground truths that were missed), their crossing always 0.
        truth: ``[n]`` the ground truth that each detection was matched to, -1 for none.
        counted: ``[n]`` True for a detection that is in the counts.
    """

    iou: float
    score_threshold: float
    categories: NDArray[np.int64]
    counts: NDArray[np.int64]
    truth: NDArray[np.int64]
    counted: NDArray[np.bool_]

    def normalized(self, by: Literal["true", "predicted"] = "true") -> NDArray[np.float64]:
        """Returns ``[k + 1, k + 1]`` fractions of each row ("true") or of each column ("predicted"); 0 where empty.

        Raises:
            ConfigError: If ``by`` is something else.
        """
        if by not in ("true", "predicted"):
            raise ConfigError(unknown_name("normalization", str(by), ("true", "predicted")))
        total = self.counts.sum(axis=1 if by == "true" else 0, keepdims=True)
        return self.counts / np.maximum(total, 1)


def confusion_matrix(
    truth: GroundTruth,
    detections: Detections,
    *,
    score_threshold: float = 0.25,
    iou: float = 0.5,
    limit: int = 100,
) -> ConfusionMatrix:
    """Counts which category was found as which.

    The rule is the common one: every detection names the ground truth of its image with which its IoU is largest,
    whatever their categories; every ground truth keeps the detection with the largest IoU among those that name it,
    the higher score of equal ones. All other detections are false positives, even where they overlap another one.
    Crowds are not matched: a detection without a match of which a fraction of at least ``iou`` lies in a crowd of its
    own category is not counted, nor is what `evaluate` leaves out.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        score_threshold: Detections with at least this score are kept.
        iou: Smallest IoU of a match.
        limit: Detections per image and category, best scores first.

    Raises:
        ConfigError: If a threshold or the limit makes no sense.
        DataError: If a detection lies in an image that the ground truth does not list.

    Reference: the rule of the ``ConfusionMatrix`` of YOLOv5 and its successors. We differ in that thresholds belong to
        what is kept (>=), equal IoUs are settled, rows are the truth, and crowds are known.

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 2], [1, 1])
    >>> lane = Detections([[0, 0, 10, 9], [50, 50, 60, 60]], [0.9, 0.8], [2, 2], [1, 1])
    >>> confusion_matrix(truth, lane).counts.tolist()
    [[0, 1, 0], [0, 0, 1], [0, 1, 0]]
    """
    if not 0 < iou <= 1:
        raise ConfigError(f"iou is {iou}: expected a number in (0, 1]")
    if np.isnan(score_threshold):
        raise ConfigError("score_threshold is NaN: expected a score")
    if limit < 1:
        raise ConfigError(f"limit is {limit}: expected a whole number from 1 up")
    within_limit = np.zeros(len(detections), bool)
    within_limit[lay_out([truth], [detections], limit=limit).source] = True
    kept = np.flatnonzero(within_limit & (detections.scores >= score_threshold))
    shown = Detections(
        detections.boxes[kept], detections.scores[kept], detections.labels[kept], detections.image_ids[kept]
    )
    pairs = image_pairs(truth, shown, minimum=min(iou, ALMOST_ONE))
    crowd = truth.crowd[pairs.truth]
    own = pairs.where(~crowd)
    own = own.where(_mask(best_of_each(own.detection, own.iou, -own.truth), len(own.iou)))
    own = own.where(_mask(best_of_each(own.truth, own.iou, shown.scores[own.detection], -own.detection), len(own.iou)))
    matched = np.full(len(shown), -1)
    matched[own.detection] = own.truth

    predicted = np.searchsorted(truth.categories, shown.labels)
    actual = np.searchsorted(truth.categories, truth.labels)
    excused = pairs.where(crowd & (shown.labels[pairs.detection] == truth.labels[pairs.truth])).detection
    counted = np.ones(len(shown), bool)
    counted[excused] = False
    counted[own.detection] = True
    nothing = len(truth.categories)
    missed = ~truth.crowd
    missed[own.truth] = False
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    row = np.append(actual, nothing)[matched]
    np.add.at(counts, (row[counted], predicted[counted]), 1)
    np.add.at(counts, (actual[missed], nothing), 1)

    taken, included = np.full(len(detections), -1), np.zeros(len(detections), bool)
    taken[kept], included[kept] = matched, counted
    return ConfusionMatrix(
        iou=float(iou),
        score_threshold=float(score_threshold),
        categories=truth.categories,
        counts=counts,
        truth=taken,
        counted=included,
    )


def _mask(chosen: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    mask[chosen] = True
    return mask
