"""What AP is lost to: every mistake has one cause, and every cause a price, the AP that would be gained without it.

The prices do not add up to what is missing: mistakes hide one another. They are made for comparing causes, and for
comparing detectors cause by cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.curves import PrecisionRecall, mean_over_categories
from mapopt.metrics.match_table import MatchTable, match
from mapopt.metrics.overlaps import ALMOST_ONE, Pairs, best_of_each, image_pairs
from mapopt.metrics.ranking import Ranking, rank

CAUSES: tuple[str, ...] = ("class", "location", "both", "duplicate", "background", "missed")
"""The causes of mistakes; every false positive has one of the first five."""

SPECIAL_CAUSES: tuple[str, ...] = ("false_positive", "false_negative")
"""All false positives, and all false negatives, as if they were one cause."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Causes:
    """Mistakes by cause, and what each cause costs; made by `error_causes`.

    Attributes:
        iou: IoU from which a box is in place (t_f).
        background_iou: IoU up to which a box touches nothing (t_b).
        categories: ``[k]`` category ids.
        cause: ``[n]`` the cause of every false positive, a place in `CAUSES`; -1 for all other detections.
        truth: ``[n]`` the ground truth that a mistake is about: the one of another category ("class"), the badly
            placed ("location") or the found one ("duplicate"); -1 elsewhere.
        missed: ``[g]`` True for a ground truth that no detection found, be it in the wrong place or category.
    """

    iou: float
    background_iou: float
    categories: NDArray[np.int64]
    cause: NDArray[np.int64]
    truth: NDArray[np.int64]
    missed: NDArray[np.bool_]
    _ranking: Ranking
    _images: NDArray[np.int64]
    _truth_category: NDArray[np.int64]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of mistakes of each cause, and of the two special ones."""
        return {name: int(row.sum()) for name, row in self.category_counts.items()}

    @cached_property
    def category_counts(self) -> dict[str, NDArray[np.int64]]:
        """``[k]`` mistakes of each cause, by the category that a detection has or that a missed box has."""
        size, category = len(self.categories), self._ranking.category
        causes = self.cause[self._ranking.rows]
        counts = {name: np.bincount(category[causes == place], minlength=size) for place, name in enumerate(CAUSES)}
        counts["missed"] = np.bincount(self._truth_category[self.missed], minlength=size)
        counts["false_positive"] = np.bincount(category[~self._ranking.correct], minlength=size)
        hits = np.bincount(category[self._ranking.correct], minlength=size)
        counts["false_negative"] = self._ranking.positives - hits
        return counts

    @cached_property
    def average_precision(self) -> float:
        """AP as it is, at this IoU threshold, mean over categories, with the evaluator's bits; NaN where undefined."""
        return PrecisionRecall(ranking=self._ranking).average_precision

    @cached_property
    def category_average_precision(self) -> NDArray[np.float64]:
        """``[k]`` AP of every category as it is; NaN without ground truth."""
        return PrecisionRecall(ranking=self._ranking).category_average_precision

    @cached_property
    def delta_average_precision(self) -> dict[str, float]:
        """What AP gains where only the mistakes of one cause are put right (dAP); NaN without any ground truth."""
        return {name: mean_over_categories(self._fixed[name]) - self.average_precision for name in self._fixed}

    @cached_property
    def category_delta(self) -> dict[str, NDArray[np.float64]]:
        """``[k]`` what AP of every category gains, for each cause and special cause; NaN without ground truth."""
        before = self.category_average_precision
        return {name: after.mean(axis=1) - before for name, after in self._fixed.items()}

    @cached_property
    def _fixed(self) -> dict[str, NDArray[np.float64]]:
        """``[k, 101]`` interpolated curves where the mistakes of one cause are put right."""
        before = PrecisionRecall(ranking=self._ranking).interpolated
        curves = {}
        for name in (*CAUSES, *SPECIAL_CAUSES):
            after = PrecisionRecall(ranking=self._repaired(name)).interpolated
            # Where all that a category has was missed there is no curve to stretch: nothing is gained.
            curves[name] = np.where(np.isnan(after), before, after)
        return curves

    def _repaired(self, name: str) -> Ranking:
        """Returns the ranking without the mistakes of one cause."""
        ranking = self._ranking
        positives, causes = ranking.positives, self.cause[ranking.rows]
        kept, category, correct = np.ones(len(causes), bool), ranking.category, ranking.correct.copy()
        if name in ("class", "location"):
            mended = np.flatnonzero(causes == CAUSES.index(name))
            target = self.truth[ranking.rows[mended]]
            # Each of these ground truths goes to its best detection, be it a mended one or the one that had it.
            holders = np.flatnonzero(np.isin(ranking.truth, target))
            takers, wanted = np.append(holders, mended), np.append(ranking.truth[holders], target)
            winner = takers[best_of_each(wanted, ranking.scores[takers])]
            kept[takers] = False
            kept[winner] = correct[winner] = True
            category[mended] = self._truth_category[target]
        elif name == "missed":
            positives = positives - self.category_counts["missed"]
        elif name == "false_positive":
            kept = correct
        elif name == "false_negative":
            positives = positives - self.category_counts["false_negative"]
        else:
            kept = causes != CAUSES.index(name)
        chosen = np.flatnonzero(kept)
        order = chosen[np.lexsort((self._images[ranking.rows[chosen]], -ranking.scores[chosen], category[chosen]))]
        return Ranking(
            iou=ranking.iou,
            categories=ranking.categories,
            positives=positives,
            starts=np.searchsorted(category[order], np.arange(len(positives) + 1)),
            rows=ranking.rows[order],
            scores=ranking.scores[order],
            correct=correct[order],
            truth=ranking.truth[order],
        )


def error_causes(
    truth: GroundTruth,
    detections: Detections,
    *,
    iou: float = 0.5,
    background_iou: float = 0.1,
    table: MatchTable | None = None,
) -> Causes:
    """Finds the cause of every mistake and what it costs.

    A false positive of the evaluator's matching has the first cause that fits. *location*: the best IoU with a ground
    truth of its category is in [``background_iou``, ``iou``). *class*: one of another category reaches ``iou``.
    *duplicate*: one of its own category does, but has a better detection. *background*: none exceeds
    ``background_iou``. *both*: everything else. A ground truth is *missed* where it is neither found nor meant by a
    location or class mistake.

    What is put right: a class mistake gets the right category, a location mistake the right place, and of several
    detections that one ground truth then has, the best stays and the others go. Both, duplicate and background
    mistakes go. Missed ground truths are no longer asked for, which stretches the curve.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou: IoU from which a box is in place.
        background_iou: IoU up to which a box touches nothing; below ``iou``.
        table: Matches of these boxes from `match`, to share them or to ask about another area range or limit;
            ``iou`` must be one of its thresholds.

    Raises:
        ConfigError: If a threshold makes no sense, or the table was made of other boxes or has no such threshold.
        DataError: If a detection lies in an image that the ground truth does not list.

    Reference: D. Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020. The order
        of the causes is its code's. We follow the paper where the code does not: the better of two detections stays
        even where the other was right before, and a detection is no rival to those with another cause. AP is the
        evaluator's (a category without ground truth does not count, a limit holds per category).

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 2], [1, 1])
    >>> lane = Detections([[0, 0, 10, 10], [20, 20, 30, 24]], [0.9, 0.8], [1, 2], [1, 1])
    >>> found = error_causes(truth, lane)
    >>> found.counts["location"], round(found.delta_average_precision["location"], 3)
    (1, 0.5)
    """
    if not 0 < background_iou < iou:
        raise ConfigError(f"background_iou is {background_iou}: expected a number above 0 and below iou, {iou}")
    if table is None:
        table = match(truth, detections, iou_thresholds=[iou])
    ranking = rank(truth, detections, iou=iou, table=table)
    pairs = image_pairs(truth, detections, minimum=background_iou)
    wrong = np.zeros(len(detections), bool)
    wrong[ranking.rows[~ranking.correct]] = True
    pairs = pairs.where(wrong[pairs.detection] & table.counted[pairs.truth])
    same = detections.labels[pairs.detection] == truth.labels[pairs.truth]
    own_iou, own_truth = _best(pairs.where(same), len(detections))
    other_iou, other_truth = _best(pairs.where(~same), len(detections))

    reached = min(ranking.iou, ALMOST_ONE)
    tests = {
        "location": (own_iou >= background_iou) & (own_iou < reached),
        "class": other_iou >= reached,
        "duplicate": own_iou >= reached,
        "background": np.maximum(own_iou, other_iou) <= background_iou,
        "both": np.ones(len(detections), bool),
    }
    cause = np.full(len(detections), -1)
    for name, fits in tests.items():
        cause[wrong & fits & (cause < 0)] = CAUSES.index(name)
    about = np.full(len(detections), -1)
    for name, target in (("class", other_truth), ("location", own_truth), ("duplicate", own_truth)):
        chosen = cause == CAUSES.index(name)
        about[chosen] = target[chosen]
    missed = table.counted & (table.detection[:, table.column(iou)] < 0)
    missed[about[(cause == CAUSES.index("class")) | (cause == CAUSES.index("location"))]] = False
    return Causes(
        iou=ranking.iou,
        background_iou=float(background_iou),
        categories=truth.categories,
        cause=cause,
        truth=about,
        missed=missed,
        _ranking=ranking,
        _images=detections.image_ids,
        _truth_category=np.searchsorted(truth.categories, truth.labels),
    )


def _best(pairs: Pairs, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns for ``count`` detections the largest IoU and its ground truth, the earlier of two; 0 and -1 for none."""
    chosen = pairs.where(np.isin(np.arange(len(pairs.iou)), best_of_each(pairs.detection, pairs.iou, -pairs.truth)))
    iou, truth = np.zeros(count), np.full(count, -1)
    iou[chosen.detection], truth[chosen.detection] = chosen.iou, chosen.truth
    return iou, truth
