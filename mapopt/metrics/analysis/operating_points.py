"""Where to put the score threshold: the best F1 and the optimal localisation recall precision error (LRP).

AP scores the whole ranking; whoever uses a detector keeps what scores above a threshold. Every distinct score is tried,
so the optimum is exact, and detections of equal score are kept or dropped together, whatever their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.curves import divided
from mapopt.metrics.match_table import MatchTable
from mapopt.metrics.overlaps import pair_iou
from mapopt.metrics.ranking import Ranking, mean_of_defined, rank


@dataclass(frozen=True, eq=False, kw_only=True)
class Performance:
    """How every category does at one score threshold of its own; NaN where undefined.

    Everything is undefined in a category without ground truth, precision and ``lrp_false_positive`` where no detection
    is kept, ``lrp_localization`` where none is right.

    Attributes:
        threshold: ``[k]`` keep detections that score at least this much; inf where it is best to keep none.
        precision: ``[k]`` TP / (TP + FP).
        recall: ``[k]`` TP / (TP + FN).
        f1: ``[k]`` 2 TP / (2 TP + FP + FN).
        lrp: ``[k]`` (sum over TP of (1 - IoU) / (1 - iou) + FP + FN) / (TP + FP + FN): 0 perfect, 1 worst.
        lrp_localization: ``[k]`` mean of 1 - IoU over TP.
        lrp_false_positive: ``[k]`` 1 - precision.
        lrp_false_negative: ``[k]`` 1 - recall.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    lrp: NDArray[np.float64]
    lrp_localization: NDArray[np.float64]
    lrp_false_positive: NDArray[np.float64]
    lrp_false_negative: NDArray[np.float64]

    def mean(self, name: str) -> float:
        """Returns the mean of an attribute over the categories where it is defined, or NaN."""
        return mean_of_defined(getattr(self, name))


@dataclass(frozen=True, eq=False, kw_only=True)
class OperatingPoints:
    """The thresholds to know of every category; made by `find_operating_points`.

    Attributes:
        iou: The IoU threshold.
        categories: ``[k]`` category ids.
        positives: ``[k]`` ground truths that must be found.
        best_f1: At the threshold with the largest F1; of several, the highest threshold.
        optimal_lrp: At the threshold with the smallest LRP; of several, the highest threshold.
        unfiltered: With all detections as they were given; the threshold is the lowest score.
    """

    iou: float
    categories: NDArray[np.int64]
    positives: NDArray[np.int64]
    best_f1: Performance
    optimal_lrp: Performance
    unfiltered: Performance
    _ranking: Ranking
    _errors: NDArray[np.float64]

    @property
    def mean_f1(self) -> float:
        """Best F1, mean over the categories with ground truth; NaN without any."""
        return self.best_f1.mean("f1")

    @property
    def mean_optimal_lrp(self) -> float:
        """Optimal LRP, mean over the categories with ground truth (moLRP); NaN without any."""
        return self.optimal_lrp.mean("lrp")

    @cached_property
    def pooled(self) -> OperatingPoints:
        """The same with all categories that have ground truth as one: one threshold for all (its id is -1)."""
        ranking = self._ranking.pooled()
        errors = np.zeros(self._ranking.rows.max(initial=-1) + 1)
        errors[self._ranking.rows] = self._errors
        return _search(ranking, errors[ranking.rows])


@dataclass(frozen=True, kw_only=True)
class F1AndLRP:
    """F1 and LRP of a detector, means over the categories with ground truth; NaN without any.

    Attributes:
        best_f1: F1 at the best score threshold of every category.
        optimal_lrp: LRP at the best score threshold of every category (moLRP).
        f1: F1 of all detections as given: it falls with every false alarm that the detector's own threshold lets pass.
        lrp: LRP of all detections as given.
    """

    best_f1: float
    optimal_lrp: float
    f1: float
    lrp: float


def find_operating_points(
    truth: GroundTruth, detections: Detections, *, iou: float = 0.5, table: MatchTable | None = None
) -> OperatingPoints:
    """Finds the best score thresholds of every category, exactly.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou: IoU threshold, below 1; the paper's tau.
        table: Matches of these boxes from `match`, to share them or to ask about another area range or limit;
            ``iou`` must be one of its thresholds.

    Raises:
        ConfigError: If the threshold makes no sense, or the table was made of other boxes or has no such threshold.
        DataError: If a detection lies in an image that the ground truth does not list.

    Reference: K. Oksuz et al., "One Metric to Measure Them All: Localisation Recall Precision (LRP) for Evaluating
        Visual Detection Tasks", TPAMI 2021. We differ where no detection is right: LRP is 1 at every threshold, ours is
        then inf. And between equal scores there is no threshold; the published code cuts there.

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [1, 1])
    >>> lane = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8], [1, 1], [1, 1])
    >>> found = find_operating_points(truth, lane)
    >>> found.best_f1.threshold.tolist(), round(found.mean_f1, 3), found.mean_optimal_lrp
    ([0.9], 0.667, 0.5)
    """
    if iou >= 1:
        raise ConfigError(f"iou is {iou}: LRP divides by 1 - iou; give a threshold below 1")
    ranking = rank(truth, detections, iou=iou, table=table)
    errors = np.zeros(len(ranking.rows))
    hits = np.flatnonzero(ranking.correct)
    errors[hits] = 1 - pair_iou(detections.boxes[ranking.rows[hits]], truth.boxes[ranking.truth[hits]])
    return _search(ranking, errors)


def f1_and_lrp(
    truth: GroundTruth, detections: Detections, *, iou: float = 0.5, table: MatchTable | None = None
) -> F1AndLRP:
    """Returns F1 and LRP, at the best thresholds and as given, from one matching: what a reward needs.

    Args:
        truth: As in `find_operating_points`, like everything that follows.
        detections: See `find_operating_points`.
        iou: See `find_operating_points`.
        table: See `find_operating_points`.

    Raises:
        ConfigError: As in `find_operating_points`.
        DataError: As in `find_operating_points`.
    """
    points = find_operating_points(truth, detections, iou=iou, table=table)
    return F1AndLRP(
        best_f1=points.mean_f1,
        optimal_lrp=points.mean_optimal_lrp,
        f1=points.unfiltered.mean("f1"),
        lrp=points.unfiltered.mean("lrp"),
    )


def _search(ranking: Ranking, errors: NDArray[np.float64]) -> OperatingPoints:
    """Tries every threshold of every category.

    Args:
        ranking: The detections that count.
        errors: ``[n]`` 1 - IoU of every true positive, anything elsewhere.
    """
    cuts = ranking.last_of_ties()
    category = ranking.category[cuts]
    positives = ranking.positives[category]
    hits = ranking.running(ranking.correct)[cuts]
    kept_count = cuts + 1 - ranking.starts[category]
    misplaced = _running_errors(ranking, errors, cuts, hits)
    f1 = 2 * hits / np.maximum(kept_count + positives, 1)
    lrp = _lrp(misplaced, hits, kept_count, positives, ranking.iou)

    present = np.diff(ranking.starts) > 0
    starts = np.searchsorted(category, np.flatnonzero(present))

    def at(chosen: NDArray[np.int64], useful: NDArray[np.bool_]) -> Performance:
        """Reads one cut of every category with detections; elsewhere, or where it is not useful, nothing is kept."""
        cut = np.full(len(present), -1)
        cut[present] = np.where(useful, chosen, -1)
        kept = cut >= 0
        columns = (ranking.scores[cuts], hits, kept_count, misplaced)
        score, right, reported, far = (np.where(kept, np.append(part, 0)[cut], 0) for part in columns)
        threshold = np.where(kept, score, np.inf)
        return _performance(ranking, threshold, right.astype(np.int64), reported.astype(np.int64), far)

    best, lowest = _first_largest(f1, starts), _first_largest(-lrp, starts)
    last = np.append(starts[1:], len(cuts))[: len(starts)] - 1
    return OperatingPoints(
        iou=ranking.iou,
        categories=ranking.categories,
        positives=ranking.positives,
        best_f1=at(best, f1[best] > 0),
        optimal_lrp=at(lowest, lrp[lowest] < 1),
        unfiltered=at(last, np.ones(len(last), bool)),
        _ranking=ranking,
        _errors=errors,
    )


def _performance(
    ranking: Ranking,
    threshold: NDArray[np.float64],
    hits: NDArray[np.int64],
    kept_count: NDArray[np.int64],
    misplaced: NDArray[np.float64],
) -> Performance:
    """Computes everything from ``[k]`` counts."""
    positives = ranking.positives
    defined = positives > 0
    precision, recall = divided(hits, np.where(defined, kept_count, 0)), divided(hits, positives)
    return Performance(
        threshold=np.where(defined, threshold, np.nan),
        precision=precision,
        recall=recall,
        f1=divided(2 * hits, np.where(defined, kept_count + positives, 0)),
        lrp=np.where(defined, _lrp(misplaced, hits, kept_count, positives, ranking.iou), np.nan),
        lrp_localization=divided(misplaced, np.where(defined, hits, 0)),
        lrp_false_positive=1 - precision,
        lrp_false_negative=1 - recall,
    )


def _lrp(
    misplaced: NDArray[np.float64],
    hits: NDArray[np.int64],
    kept_count: NDArray[np.int64],
    positives: NDArray[np.int64],
    iou: float,
) -> NDArray[np.float64]:
    """Returns LRP; TP + FP + FN is the detections and what they have not found."""
    total = kept_count + positives - hits
    return (misplaced / (1 - iou) + (total - hits)) / np.maximum(total, 1)


def _running_errors(
    ranking: Ranking, errors: NDArray[np.float64], cuts: NDArray[np.int64], hits: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the sum of the true positives' errors in the category up to every cut.

    Every category is summed by itself, and equal scores by rising error: then neither other categories nor the order
    among equal scores change a bit of the sum.
    """
    right = np.flatnonzero(ranking.correct)
    level = np.searchsorted(cuts, right)
    sums = errors[right[np.lexsort((errors[right], level))]]
    bounds = np.concatenate([[0], np.cumsum(ranking.correct)])[ranking.starts]
    for first, last in pairwise(bounds.tolist()):
        np.cumsum(sums[first:last], out=sums[first:last])
    before = bounds[:-1][ranking.category[cuts]]
    return np.where(hits > 0, np.append(sums, 0.0)[before + hits - 1], 0.0)


def _first_largest(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the position of the first largest value of every (non-empty) segment."""
    if len(starts) == 0:
        return np.zeros(0, np.int64)
    largest = np.maximum.reduceat(values, starts)
    places = np.flatnonzero(values == np.repeat(largest, np.diff(np.append(starts, len(values)))))
    return places[np.searchsorted(places, starts)]
