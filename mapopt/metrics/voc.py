"""Average precision as Pascal VOC measures it: the older rules, for comparing with papers and data sets that use them.

What differs from COCO's AP: one IoU threshold; a detection is compared with the ground truth of its category that it
overlaps most, and is wrong if a better detection has that one, even where another one is free; objects marked
difficult count neither way by their plain IoU, where COCO's crowds count by the covered fraction; there is no limit on
detections; and precision is averaged over 11 recalls, or over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError, unknown_name
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.overlaps import ALMOST_ONE, best_of_each, image_pairs
from mapopt.metrics.pairs import check_pair
from mapopt.metrics.ranking import mean_of_defined

Rule = Literal["11-point", "area"]


@dataclass(frozen=True, eq=False, kw_only=True)
class VOCAveragePrecision:
    """AP by one of Pascal VOC's rules; NaN where a category has no ground truth that counts.

    Attributes:
        rule: "11-point" or "area".
        iou: The IoU threshold.
        categories: ``[k]`` category ids.
        positives: ``[k]`` ground truths that are not difficult.
        per_category: ``[k]`` AP.
        recall: ``[k]`` recall of all detections.
    """

    rule: Rule
    iou: float
    categories: NDArray[np.int64]
    positives: NDArray[np.int64]
    per_category: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean AP over the categories with ground truth; NaN without any."""
        return mean_of_defined(self.per_category)


def voc_average_precision(
    truth: GroundTruth,
    detections: Detections,
    *,
    rule: Rule = "area",
    iou: float = 0.5,
    inclusive: bool = True,
) -> VOCAveragePrecision:
    """Measures AP as Pascal VOC's devkit does.

    Args:
        truth: What is really there; ``crowd`` marks what VOC calls difficult.
        detections: The boxes that a detector reports. Equal scores are ordered as given.
        rule: "11-point", the mean of the best precision at recall 0, .1, ... 1 or more (VOC 2007), or "area", the area
            under the curve after precision was made to fall (VOC 2010 to 2012).
        iou: Smallest IoU of a match.
        inclusive: True: corners name the last pixel inside, as in VOC's files, and a side is x2 - x1 + 1. False: a side
            is x2 - x1, as everywhere else in this package.

    Raises:
        ConfigError: If there is no such rule, or the threshold makes no sense.
        DataError: If a detection lies in an image that the ground truth does not list.

    Reference: M. Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, as its devkit does
        it. We differ in that recalls are compared with .1, .2, ... exactly: in floating point a recall of 3 in 10 is
        less than 3 times .1, so that the devkit loses it. A match needs an IoU of at least ``iou``, as in the devkit;
        the port in Python that many use needs more than that.

    >>> truth = GroundTruth([[0, 0, 9, 9], [20, 20, 29, 29]], [1, 1], [1, 1])
    >>> lane = Detections([[0, 0, 9, 9]], [0.9], [1], [1])
    >>> voc_average_precision(truth, lane).mean, round(voc_average_precision(truth, lane, rule="11-point").mean, 3)
    (0.5, 0.545)
    """
    if rule not in get_args(Rule):
        raise ConfigError(unknown_name("rule", str(rule), get_args(Rule)))
    if not 0 < iou <= 1:
        raise ConfigError(f"iou is {iou}: expected a number in (0, 1]")
    check_pair(truth, detections)
    known = np.flatnonzero(np.isin(detections.labels, truth.categories))
    order = known[np.argsort(-detections.scores[known], kind="stable")]
    best = _assigned(truth, detections, order, min(iou, ALMOST_ONE), inclusive)

    # The first detection that names a ground truth has it.
    named = np.flatnonzero(best >= 0)
    correct, counts = np.zeros(len(order), bool), np.ones(len(order), bool)
    correct[named[best_of_each(best[named], -named)]] = True
    counts[named] = ~truth.crowd[best[named]]
    correct, order = correct[counts], order[counts]

    category = np.searchsorted(truth.categories, detections.labels[order])
    size = len(truth.categories)
    positives = np.bincount(np.searchsorted(truth.categories, truth.labels[~truth.crowd]), minlength=size)
    by_category = np.argsort(category, kind="stable")
    starts = np.searchsorted(category[by_category], np.arange(size + 1))
    ap, recall = np.full(size, np.nan), np.full(size, np.nan)
    for number in np.flatnonzero(positives):
        hits = np.cumsum(correct[by_category[starts[number] : starts[number + 1]]])
        precision = hits / np.arange(1, len(hits) + 1)
        average = _eleven_points if rule == "11-point" else _area
        ap[number] = average(hits, precision, int(positives[number]))
        recall[number] = np.append(0, hits)[-1] / positives[number]
    return VOCAveragePrecision(
        rule=rule, iou=float(iou), categories=truth.categories, positives=positives, per_category=ap, recall=recall
    )


def _assigned(
    truth: GroundTruth, detections: Detections, order: NDArray[np.int64], iou: float, inclusive: bool
) -> NDArray[np.int64]:
    """Returns the ground truth that each detection of ``order`` overlaps most, the first of equal ones, or -1."""
    pixel = np.array([0.0, 0.0, 1.0, 1.0]) if inclusive else np.zeros(4)
    real = GroundTruth(truth.boxes + pixel, truth.labels, truth.image_ids, images=truth.images)
    predicted = Detections(
        detections.boxes[order] + pixel, detections.scores[order], detections.labels[order], detections.image_ids[order]
    )
    pairs = image_pairs(real, predicted, minimum=iou)
    pairs = pairs.where(predicted.labels[pairs.detection] == truth.labels[pairs.truth])
    chosen = best_of_each(pairs.detection, pairs.iou, -pairs.truth)
    best = np.full(len(order), -1)
    best[pairs.detection[chosen]] = pairs.truth[chosen]
    return best


def _eleven_points(hits: NDArray[np.int64], precision: NDArray[np.float64], positives: int) -> float:
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    reached = np.searchsorted(10 * hits, np.arange(11) * positives, side="left")
    return float(best[reached].mean())


def _area(hits: NDArray[np.int64], precision: NDArray[np.float64], positives: int) -> float:
    best = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.diff(hits, prepend=0) > 0
    return float(best[gained].sum() / positives)
