"""Precision against recall and F1 against the score threshold, point by point, as AP is counted from them.

The points are the detections themselves, not a grid of scores. AP that is read off these curves has the bits of the
evaluator's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.match_table import MatchTable
from mapopt.metrics.ranking import Ranking, mean_of_defined, rank
from mapopt.metrics.settings import RECALLS


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """One category's curve, at falling scores; empty where the category has no detection or no ground truth.

    Attributes:
        scores: ``[n]`` scores: the thresholds.
        precision: ``[n]`` fraction of the detections so far that are right.
        recall: ``[n]`` fraction of the ground truths found so far.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """``[n]`` harmonic mean of precision and recall."""
        return f1_score(self.precision, self.recall)


@dataclass(frozen=True, eq=False, kw_only=True)
class ThresholdCurves:
    """What a score threshold does to every category; NaN where undefined.

    Attributes:
        categories: ``[k]`` category ids.
        thresholds: ``[s]`` score thresholds: detections with at least that score are kept.
        precision: ``[k, s]`` undefined where nothing is kept.
        recall: ``[k, s]`` undefined where a category has no ground truth, like F1.
        f1: ``[k, s]`` 2 TP / (2 TP + FP + FN), 0 where nothing is kept.
    """

    categories: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    @cached_property
    def mean_f1(self) -> NDArray[np.float64]:
        """``[s]`` F1, mean over the categories with ground truth."""
        return np.array([mean_of_defined(column) for column in self.f1.T])


@dataclass(frozen=True, eq=False, kw_only=True)
class PrecisionRecall:
    """Precision and recall of every category at one IoU threshold; made by `precision_recall`.

    Attributes:
        ranking: The detections that count, by category and falling score.
    """

    ranking: Ranking

    @property
    def iou(self) -> float:
        """The IoU threshold."""
        return self.ranking.iou

    @property
    def categories(self) -> NDArray[np.int64]:
        """``[k]`` category ids."""
        return self.ranking.categories

    @property
    def positives(self) -> NDArray[np.int64]:
        """``[k]`` ground truths that must be found."""
        return self.ranking.positives

    @cached_property
    def true_positives(self) -> NDArray[np.int64]:
        """``[n]`` true positives of the category up to each detection of the ranking."""
        return self.ranking.running(self.ranking.correct)

    @cached_property
    def false_positives(self) -> NDArray[np.int64]:
        """``[n]`` false positives of the category up to each detection of the ranking."""
        return self.ranking.running(~self.ranking.correct)

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """``[n]`` precision up to each detection of the ranking, to the bit as pycocotools has it."""
        hits = self.true_positives.astype(np.float64)
        return hits / (self.false_positives + hits + np.spacing(1))

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """``[n]`` recall up to each detection of the ranking; NaN in a category without ground truth."""
        total = np.repeat(self.positives, np.diff(self.ranking.starts))
        return np.where(total > 0, self.true_positives / np.maximum(total, 1), np.nan)

    @cached_property
    def interpolated(self) -> NDArray[np.float64]:
        """``[k, 101]`` best precision at that recall or more, as `Report.precision`; NaN without ground truth."""
        curves = np.full((len(self.categories), len(RECALLS)), np.nan)
        for number, (first, last) in enumerate(pairwise(self.ranking.starts.tolist())):
            if self.positives[number]:
                best = np.maximum.accumulate(self.precision[first:last][::-1])[::-1]
                reached = np.searchsorted(self.recall[first:last], RECALLS, side="left")
                curves[number] = np.append(best, 0.0)[reached]
        return curves

    @cached_property
    def mean_interpolated(self) -> NDArray[np.float64]:
        """``[101]`` the interpolated curve, mean over the categories with ground truth; its mean is AP."""
        return np.array([mean_of_defined(column) for column in self.interpolated.T])

    @cached_property
    def average_precision(self) -> float:
        """AP at this IoU threshold, mean over categories, with the evaluator's bits; NaN without any ground truth."""
        return mean_over_categories(self.interpolated)

    @cached_property
    def category_average_precision(self) -> NDArray[np.float64]:
        """``[k]`` AP of every category; NaN without ground truth."""
        return self.interpolated.mean(axis=1)

    @cached_property
    def pooled(self) -> PrecisionRecall:
        """The curve of all categories with ground truth in one ranking, which common ones dominate."""
        return PrecisionRecall(ranking=self.ranking.pooled())

    def curve(self, category: int) -> Curve:
        """Returns the point after every single detection of a category id, as pycocotools counts.

        Raises:
            ConfigError: If the category is not evaluated.
        """
        return self._points(category, np.arange(len(self.ranking.scores)))

    def threshold_curve(self, category: int) -> Curve:
        """Returns the points that a score threshold can choose: one for every distinct score of a category id.

        Raises:
            ConfigError: If the category is not evaluated.
        """
        return self._points(category, self.ranking.last_of_ties())

    def at(self, thresholds: ArrayLike) -> ThresholdCurves:
        """Returns precision, recall and F1 of every category with the detections that reach score thresholds.

        Args:
            thresholds: ``[s]`` score thresholds, in any order.

        Raises:
            ConfigError: If they are no list of numbers.
        """
        levels = np.asarray(thresholds, np.float64)
        if levels.ndim != 1 or np.isnan(levels).any():
            raise ConfigError(f"thresholds have shape {levels.shape}: expected a list of scores without NaN")
        starts, shape = self.ranking.starts, (len(self.categories), len(levels))
        hits, kept_counts = np.zeros(shape), np.zeros(shape)
        for number, (first, last) in enumerate(pairwise(starts.tolist())):
            kept = np.searchsorted(-self.ranking.scores[first:last], -levels, side="right")
            kept_counts[number] = kept
            hits[number] = np.append(0, self.true_positives[first:last])[kept]
        total = self.positives[:, None]
        return ThresholdCurves(
            categories=self.categories,
            thresholds=levels,
            precision=divided(hits, np.where(total > 0, kept_counts, 0)),
            recall=divided(hits, np.broadcast_to(total, shape)),
            f1=divided(2 * hits, np.where(total > 0, kept_counts + total, 0)),
        )

    def _points(self, category: int, positions: NDArray[np.int64]) -> Curve:
        place = self.ranking.place(category)
        first, last = self.ranking.starts[place : place + 2]
        chosen = positions[(positions >= first) & (positions < last)] if self.positives[place] else positions[:0]
        return Curve(scores=self.ranking.scores[chosen], precision=self.precision[chosen], recall=self.recall[chosen])


def precision_recall(
    truth: GroundTruth, detections: Detections, *, iou: float = 0.5, table: MatchTable | None = None
) -> PrecisionRecall:
    """Counts precision and recall of every category, detection by detection.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou: IoU threshold.
        table: Matches of these boxes from `match`, to share them or to ask about another area range or limit;
            ``iou`` must be one of its thresholds.

    Raises:
        ConfigError: If the threshold makes no sense, or the table was made of other boxes or has no such threshold.
        DataError: If a detection lies in an image that the ground truth does not list.

    Reference: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, for the interpolation.

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [1, 1])
    >>> lane = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8], [1, 1], [1, 1])
    >>> curve = precision_recall(truth, lane).threshold_curve(1)
    >>> curve.precision.round(3).tolist(), curve.recall.tolist()
    ([1.0, 0.5], [0.5, 0.5])
    """
    return PrecisionRecall(ranking=rank(truth, detections, iou=iou, table=table))


def mean_over_categories(interpolated: NDArray[np.float64]) -> float:
    """Returns AP of ``[k, 101]`` interpolated curves, summed in pycocotools' order; NaN where none is defined."""
    return mean_of_defined(np.ascontiguousarray(interpolated.T))


def f1_score(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the harmonic mean, 0 where both are 0."""
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def divided(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Returns part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
