"""AP for many categories: `fixed_average_precision` and `pooled_average_precision` stand beside COCO's AP.

COCO's limit of 100 detections an image makes categories compete for places, so AP of one category depends on what is
detected of others; and a mean over categories never compares their scores, so a detector may be calibrated for none.

Reference: A. Dave, P. Dollár, D. Ramanan, A. Kirillov, R. Girshick, "Evaluating Large-Vocabulary Object Detectors: The
    Devil is in the Details", arXiv:2102.01066, sections 3 and 5. COCO's limit is per image and category, LVIS's, which
    the paper argues with, per image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.evaluator import evaluate
from mapopt.metrics.pairs import check_pair

PER_CATEGORY = 10_000
"""Detections of each category over all images, as many as the paper's."""


def fixed_average_precision(truth: GroundTruth, detections: Detections, *, per_category: int = PER_CATEGORY) -> float:
    """Returns AP-fixed: AP with a limit on detections per category over all images, and none per image.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        per_category: Detections of each category that are kept, best scores first.

    Raises:
        ConfigError: If the limit makes no sense.
        DataError: As in `evaluate`.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    >>> round(fixed_average_precision(truth, Detections([[0, 0, 10, 10]], [0.9], [1], [1])), 9)
    1.0
    """
    kept = _best_of_each_category(*check_pair(truth, detections), per_category)
    return evaluate(truth, kept, max_detections=max(1, len(kept)), mode="reward").ap


def pooled_average_precision(truth: GroundTruth, detections: Detections, *, per_category: int = PER_CATEGORY) -> float:
    """Returns AP-pool: as AP-fixed, but all categories' detections are ranked together into one curve.

    Detections are matched within their category; then only the scores of all of them count, so scores that mean the
    same in every category are rewarded, and frequent categories weigh more.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        per_category: As in `fixed_average_precision`.

    Raises:
        ConfigError: If the limit makes no sense.
        DataError: As in `evaluate`.

    >>> truth = GroundTruth([[0, 0, 10, 10]] * 2, [1, 2], [1, 1])
    >>> round(pooled_average_precision(truth, Detections([[0, 0, 10, 10]] * 2, [0.9, 0.8], [1, 2], [1, 1])), 9)
    1.0
    """
    kept = _best_of_each_category(*check_pair(truth, detections), per_category)
    # Matching never looks beyond an image and a category: each such pair as an image of its own, in one category.
    count = len(truth.categories)
    places = [
        np.searchsorted(truth.images, boxes.image_ids) * count + np.searchsorted(truth.categories, boxes.labels)
        for boxes in (truth, kept)
    ]
    pooled = GroundTruth(
        truth.boxes,
        np.zeros(len(truth), np.int64),
        places[0],
        crowd=truth.crowd,
        area=truth.area,
        images=np.unique(np.concatenate(places)),
        categories=[0],
    )
    ranked = Detections(kept.boxes, kept.scores, np.zeros(len(kept), np.int64), places[1])
    return evaluate(pooled, ranked, max_detections=max(1, len(kept)), mode="reward").ap


def _best_of_each_category(truth: GroundTruth, detections: Detections, per_category: int) -> Detections:
    """Returns the detections of evaluated categories within the limit, in the order given."""
    if not isinstance(per_category, int | np.integer) or per_category < 1:
        raise ConfigError(
            f"per_category is {per_category!r}: expected a whole number from 1 up, such as {PER_CATEGORY}"
        )
    known = np.flatnonzero(np.isin(detections.labels, truth.categories))
    order = known[np.lexsort((-detections.scores[known], detections.labels[known]))]
    labels = detections.labels[order]
    starts: NDArray[np.int64] = np.searchsorted(labels, labels, side="left")
    rows = np.sort(order[np.arange(len(order)) - starts < per_category])
    return Detections(
        detections.boxes[rows], detections.scores[rows], detections.labels[rows], detections.image_ids[rows]
    )
