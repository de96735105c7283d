"""Whether scores mean what they say: of the detections that score .8, are eight in ten right?

AP does not show it, for it sees only the order of the scores. Detections are put into bins of equal width by their
scores; in a calibrated detector the mean score of a bin is the fraction of right ones in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError, DataError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.curves import divided
from mapopt.metrics.match_table import MatchTable
from mapopt.metrics.overlaps import pair_iou
from mapopt.metrics.pairs import check_pair
from mapopt.metrics.ranking import mean_of_defined, rank


@dataclass(frozen=True, eq=False, kw_only=True)
class Reliability:
    """A reliability diagram: a point or a bar for every bin of scores; NaN where a bin is empty.

    Attributes:
        edges: ``[b + 1]`` ends of the bins; the lower end belongs to a bin, and 1 to the last.
        counts: ``[b]`` detections.
        score: ``[b]`` their mean score.
        precision: ``[b]`` fraction of them that is right.
        quality: ``[b]`` their mean IoU, where a wrong one has 0 (precision times the mean IoU of the right ones).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    quality: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """ECE: mean over detections of the distance between score and precision of their bin; NaN without any."""
        return self._gap(self.precision)

    @property
    def localization_aware_error(self) -> float:
        """The same with the bin's ``quality`` for its precision; the LaECE of one category."""
        return self._gap(self.quality)

    def _gap(self, wanted: NDArray[np.float64]) -> float:
        if not self.counts.any():
            return math.nan
        gaps = np.where(self.counts > 0, np.abs(self.score - wanted), 0.0)
        return float(np.sum(self.counts * gaps) / self.counts.sum())


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """How far scores are from what they promise; made by `measure_calibration`.

    A category without ground truth or without detections is undefined, NaN, and part of no mean and not of ``pooled``.

    Attributes:
        iou: The IoU threshold from which a detection can be right.
        categories: ``[k]`` category ids.
        pooled: The diagram of all categories together.
        per_category: ``[k]`` the diagram of every category.
    """

    iou: float
    categories: NDArray[np.int64]
    pooled: Reliability
    per_category: tuple[Reliability, ...]

    @property
    def expected_calibration_error(self) -> float:
        """ECE of all detections together."""
        return self.pooled.expected_calibration_error

    @cached_property
    def category_expected_calibration_error(self) -> NDArray[np.float64]:
        """``[k]`` ECE of every category."""
        return np.array([diagram.expected_calibration_error for diagram in self.per_category])

    @cached_property
    def category_localization_aware_error(self) -> NDArray[np.float64]:
        """``[k]`` localisation-aware ECE of every category."""
        return np.array([diagram.localization_aware_error for diagram in self.per_category])

    @property
    def localization_aware_error(self) -> float:
        """LaECE: the localisation-aware ECE, mean over categories."""
        return mean_of_defined(self.category_localization_aware_error)


def measure_calibration(
    truth: GroundTruth,
    detections: Detections,
    *,
    iou: float = 0.5,
    bins: int = 25,
    table: MatchTable | None = None,
) -> Calibration:
    """Compares scores with how often and how well detections are right.

    All detections count, however low their score; a detector that keeps thousands of them near 0 looks calibrated
    where nobody looks. Drop those that would not be used first: matches do not change by it.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports; scores are probabilities.
        iou: IoU threshold from which a detection is right.
        bins: Number of bins of equal width.
        table: Matches of these boxes from `match`, to share them or to ask about another area range or limit;
            ``iou`` must be one of its thresholds.

    Raises:
        ConfigError: If the threshold or the bins make no sense, or the table was made of other boxes.
        DataError: If a score is outside [0, 1], or a detection lies in an image that the ground truth does not list.

    Reference: F. Kueppers et al., "Multivariate Confidence Calibration for Object Detection", CVPR Workshops 2020, for
        ECE of detections. K. Oksuz et al., "Towards Building Self-Aware Object Detectors via Reliable Uncertainty
        Quantification and Calibration", CVPR 2023, for LaECE and 25 bins; they use IoU .1 and count a category without
        detections as perfect.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    >>> lane = Detections([[0, 0, 10, 8], [20, 20, 30, 30]], [0.75, 0.75], [1, 1], [1, 1])
    >>> found = measure_calibration(truth, lane)
    >>> round(found.expected_calibration_error, 3), round(found.localization_aware_error, 3)
    (0.25, 0.35)
    """
    if bins < 1 or bins != int(bins):
        raise ConfigError(f"bins is {bins}: expected a whole number from 1 up")
    check_pair(truth, detections)
    outside = (detections.scores < 0) | (detections.scores > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"score of detection {row} is {detections.scores[row]}: calibration needs probabilities in [0, 1]; "
            "apply the sigmoid to logits"
        )
    ranking = rank(truth, detections, iou=iou, table=table)
    defined = np.flatnonzero(ranking.positives[ranking.category] > 0)
    scores, correct, category = ranking.scores[defined], ranking.correct[defined], ranking.category[defined]
    quality = np.zeros(len(defined))
    hits = defined[correct]
    quality[correct] = pair_iou(detections.boxes[ranking.rows[hits]], truth.boxes[ranking.truth[hits]])
    edges = np.linspace(0.0, 1.0, int(bins) + 1)
    place = np.minimum(np.searchsorted(edges, scores, side="right") - 1, int(bins) - 1)
    cell, shape = category * int(bins) + place, (len(truth.categories), int(bins))
    size = shape[0] * shape[1]
    counts = np.bincount(cell, minlength=size).reshape(shape)
    sums = [
        np.bincount(cell, weights=column, minlength=size).reshape(shape)
        for column in (scores, correct.astype(np.float64), quality)
    ]
    return Calibration(
        iou=ranking.iou,
        categories=truth.categories,
        pooled=_reliability(edges, counts.sum(axis=0), [part.sum(axis=0) for part in sums]),
        per_category=tuple(_reliability(edges, counts[row], [part[row] for part in sums]) for row in range(shape[0])),
    )


def _reliability(edges: NDArray[np.float64], counts: NDArray[np.int64], sums: list[NDArray[np.float64]]) -> Reliability:
    score, precision, quality = (divided(part, counts) for part in sums)
    return Reliability(edges=edges, counts=counts, score=score, precision=precision, quality=quality)
