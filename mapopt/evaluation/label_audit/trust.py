"""How far a detection can be trusted: the probability that it is right, by its class and score, as the labels show.

Scores of a detector are no probabilities, and a rare class has lower ones; what a score means is read off the labels,
of which most are right. The fit is isotonic; a class with few labels leans on all classes together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics import Detections, GroundTruth
from mapopt.metrics.match_table import match

_IOU = 0.5
_WITHIN = 0.02
_LEAN = 30
"""Labels of a class from which on its own fit counts more than that of all classes."""


def trust_of(truth: GroundTruth, detections: Detections) -> NDArray[np.float64]:
    """Returns ``[D]`` probabilities that detections are right: that there is a label of their class, IoU .5 or more.

    Args:
        truth: the labels; crowds teach nothing.
        detections: of images that the detector did not learn from, or it is trusted too much.
    """
    if not len(detections):
        return np.zeros(0)
    table = match(truth, detections, iou_thresholds=[_IOU], limit=max(1, len(detections)))
    right, counts = table.correct[:, 0], ~table.ignored[:, 0]
    pooled = fit_rising(detections.scores, right, counts)
    labels = np.bincount(truth.labels[table.counted], minlength=int(detections.labels.max()) + 1)
    trust = np.empty(len(detections))
    for label in np.unique(detections.labels).tolist():
        rows = np.flatnonzero(detections.labels == label)
        own = fit_rising(detections.scores[rows], right[rows], counts[rows])
        weight = labels[label] / (labels[label] + _LEAN)
        trust[rows] = weight * own + (1 - weight) * pooled[rows]
    # An isotonic fit has steps; within a step the score decides.
    highest = max(1e-9, float(detections.scores.max()))
    return (1 - _WITHIN) * trust + _WITHIN * np.maximum(detections.scores, 0) / highest


def fit_rising(scores: NDArray[np.float64], hits: NDArray[np.bool_], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the probability of a hit at each score: the isotonic fit, which never falls as the score rises.

    Args:
        scores: ``[n]``.
        hits: ``[n]`` what is to be predicted.
        counts: ``[n]`` what teaches; the others are only fitted.

    Reference: M. Ayer et al., "An Empirical Distribution Function for Sampling with Incomplete Information", Annals of
        Mathematical Statistics 26 (1955): adjacent violators are pooled.

    >>> fit_rising(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1], bool), np.ones(4, bool)).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    levels, place = np.unique(scores, return_inverse=True)
    size = np.bincount(place, weights=counts, minlength=len(levels))
    sums = np.bincount(place, weights=hits & counts, minlength=len(levels))
    blocks: list[tuple[float, float, int]] = []  # hits, number, levels
    for hit, number in zip(sums.tolist(), size.tolist(), strict=True):
        block = (hit, number, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    values = [hit / number if number else 0.0 for hit, number, _ in blocks]
    fitted = np.repeat(np.maximum.accumulate(values), [many for _, _, many in blocks])
    return fitted[place.reshape(-1)]
