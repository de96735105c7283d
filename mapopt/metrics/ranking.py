"""Detections that count, sorted by category and falling score: what every curve is counted from.

It is read off a `MatchTable`, so one matching serves all curves, operating points and causes; what counts neither way
(crowds, boxes outside the area range, detections that are not evaluated) is already left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.match_table import MatchTable, match


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranking:
    """Detections that count, by category, then falling score, then image, then as given.

    Attributes:
        iou: The IoU threshold of the matches.
        categories: ``[k]`` category ids.
        positives: ``[k]`` ground truths that must be found.
        starts: ``[k + 1]`` where every category begins.
        rows: ``[n]`` rows of the detections.
        scores: ``[n]`` their scores.
        correct: ``[n]`` True for a true positive, False for a false positive.
        truth: ``[n]`` the ground truth that was taken, -1 for none.
    """

    iou: float
    categories: NDArray[np.int64]
    positives: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    truth: NDArray[np.int64]

    @property
    def category(self) -> NDArray[np.int64]:
        """``[n]`` the index of every detection's category."""
        return np.repeat(np.arange(len(self.categories)), np.diff(self.starts))

    def running(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns ``[n]``: how many ``[n]`` flags are set from the start of its category up to each detection."""
        total = np.concatenate([[0], np.cumsum(flags)])
        return total[1:] - np.repeat(total[self.starts[:-1]], np.diff(self.starts))

    def last_of_ties(self) -> NDArray[np.int64]:
        """Returns the positions of the last detection of every distinct score of a category: where a threshold cuts."""
        changes = np.append(self.scores[1:] != self.scores[:-1], True)[: len(self.scores)]
        ends = self.starts[1:][np.diff(self.starts) > 0]
        changes[ends - 1] = True
        return np.flatnonzero(changes)

    def place(self, category: int) -> int:
        """Returns the index of a category id.

        Raises:
            ConfigError: If it is not one of them.
        """
        places = np.flatnonzero(self.categories == category)
        if len(places) == 0:
            raise ConfigError(f"category {category} is not evaluated: the ground truth has {self.categories.tolist()}")
        return int(places[0])

    def pooled(self) -> Ranking:
        """Returns one ranking of all categories that have ground truth, as if they were one (its id is -1)."""
        kept = np.flatnonzero(self.positives[self.category] > 0)
        # Ties go by category, then as before: nothing may depend on it, but the order must be the same every time.
        order = kept[np.argsort(-self.scores[kept], kind="stable")]
        return Ranking(
            iou=self.iou,
            categories=np.array([-1]),
            positives=np.array([self.positives.sum()]),
            starts=np.array([0, len(order)]),
            rows=self.rows[order],
            scores=self.scores[order],
            correct=self.correct[order],
            truth=self.truth[order],
        )


def rank(truth: GroundTruth, detections: Detections, *, iou: float = 0.5, table: MatchTable | None = None) -> Ranking:
    """Sorts the detections that count.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou: IoU threshold; one of the table's if a table is given.
        table: Matches of these very boxes, to share one matching between several questions, or to ask about another
            area range or limit; default matches as `evaluate` does at its largest limit.

    Raises:
        ConfigError: If the table was made of other boxes, or has no such threshold; and as in `match`.
        DataError: As in `match`.
    """
    if table is None:
        table = match(truth, detections, iou_thresholds=[iou])
    if len(table.truth) != len(detections) or len(table.detection) != len(truth):
        raise ConfigError(
            f"the table has {len(table.truth)} detections and {len(table.detection)} ground truths, "
            f"but {len(detections)} and {len(truth)} were given: give the table that `match` made of these boxes"
        )
    column = table.column(iou)
    counts = ~table.ignored[:, column]
    rows = np.flatnonzero(counts)
    category = np.searchsorted(truth.categories, detections.labels[rows])
    order = np.lexsort((detections.image_ids[rows], -detections.scores[rows], category))
    rows, category = rows[order], category[order]
    wanted = np.searchsorted(truth.categories, truth.labels[table.counted])
    taken = table.truth[rows, column]
    return Ranking(
        iou=float(table.iou_thresholds[column]),
        categories=truth.categories,
        positives=np.bincount(wanted, minlength=len(truth.categories)),
        starts=np.searchsorted(category, np.arange(len(truth.categories) + 1)),
        rows=rows,
        scores=detections.scores[rows],
        correct=taken >= 0,
        truth=taken,
    )


def mean_of_defined(values: NDArray[np.float64]) -> float:
    """Returns the mean of what is not NaN, or NaN where nothing is defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
