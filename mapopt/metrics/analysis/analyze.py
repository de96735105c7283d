"""Everything there is to know about a detector's mistakes, from one matching: curves, thresholds, causes, calibration.

Nothing is computed before it is asked for, and nothing twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from mapopt.metrics.analysis.calibration import Calibration, measure_calibration
from mapopt.metrics.analysis.causes import Causes, error_causes
from mapopt.metrics.analysis.confusion import ConfusionMatrix, confusion_matrix
from mapopt.metrics.analysis.operating_points import OperatingPoints, find_operating_points
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.curves import PrecisionRecall, precision_recall
from mapopt.metrics.match_table import MatchTable, match


@dataclass(frozen=True, eq=False, kw_only=True)
class Analysis:
    """A detector at one IoU threshold, seen from all sides; made by `analyze`.

    Attributes:
        truth: The annotated boxes.
        detections: The boxes that the detector reports.
        iou: The IoU threshold.
        table: Who took whom; may hold more thresholds.
    """

    truth: GroundTruth
    detections: Detections
    iou: float
    table: MatchTable
    limit: int = 100

    @cached_property
    def precision_recall(self) -> PrecisionRecall:
        """The curves, see `precision_recall`."""
        return precision_recall(self.truth, self.detections, iou=self.iou, table=self.table)

    @cached_property
    def operating_points(self) -> OperatingPoints:
        """The best score thresholds, see `find_operating_points`."""
        return find_operating_points(self.truth, self.detections, iou=self.iou, table=self.table)

    @cached_property
    def causes(self) -> Causes:
        """What AP is lost to, see `error_causes`."""
        return error_causes(self.truth, self.detections, iou=self.iou, table=self.table)

    @cached_property
    def calibration(self) -> Calibration:
        """How far scores are probabilities, see `measure_calibration`, which also says where they are none."""
        return measure_calibration(self.truth, self.detections, iou=self.iou, table=self.table)

    @cached_property
    def confusion(self) -> ConfusionMatrix:
        """Which category is taken for which, at the one score threshold where the pooled F1 is best."""
        threshold = float(self.operating_points.pooled.best_f1.threshold[0])
        if math.isnan(threshold):  # without ground truth no threshold is best: all detections are kept
            threshold = -math.inf
        return confusion_matrix(self.truth, self.detections, score_threshold=threshold, iou=self.iou, limit=self.limit)


def analyze(
    truth: GroundTruth,
    detections: Detections,
    *,
    iou: float = 0.5,
    table: MatchTable | None = None,
    limit: int = 100,
) -> Analysis:
    """Matches once and answers every question about mistakes from it.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou: IoU threshold.
        table: Matches of these boxes from `match`, if there are any; ``iou`` must be one of its thresholds.
        limit: Detections per image and category.

    Raises:
        ConfigError: If the threshold makes no sense or is not in the table; each answer may raise its own.
        DataError: If a detection lies in an image that the ground truth does not list.

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [1, 1])
    >>> found = analyze(truth, Detections([[0, 0, 10, 10]], [0.9], [1], [1]))
    >>> found.causes.counts["missed"], found.operating_points.best_f1.recall.tolist()
    (1, [0.5])
    """
    if table is None:
        table = match(truth, detections, iou_thresholds=[iou], limit=limit)
    table.column(iou)
    return Analysis(truth=truth, detections=detections, iou=iou, table=table, limit=limit)
