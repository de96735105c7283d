"""What is measured of a round beside AP, where a reward or a feature asks for it: calibration, F1, LRP, limits.

The first three share one matching at one IoU threshold, which costs less than the ten of AP; what nobody asks for costs
nothing. The losses on a split are not measured of detections: the engine computes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from mapopt.errors import ConfigError, unknown_name
from mapopt.metrics import Detections, GroundTruth, f1_and_lrp, match, measure_calibration, measure_limits
from mapopt.training.history import Measure

_IOU = 0.5


def measure(truth: GroundTruth, detections: Detections, measures: Sequence[Measure]) -> dict[str, float]:
    """Returns the fields of `Scores` that the measures fill; -1 where they are undefined, as it has it.

    Args:
        truth: the objects.
        detections: of a detector; scores are probabilities.
        measures: "calibration" fills ``calibration_error``, "operating_point" the four of F1 and LRP, "limits" the two
            of AP with perfect boxes and with a perfect ranking. "loss" and "gradient_agreement" are no matter of
            detections.

    Raises:
        ConfigError: a measure is unknown.

    >>> truth = GroundTruth([[0, 0, 10, 10]], labels=[1], image_ids=[1])
    >>> lane = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], scores=[0.75, 0.5], labels=[1, 1], image_ids=[1, 1])
    >>> measure(truth, lane, ["operating_point"])
    {'f1': 0.6666666666666666, 'best_f1': 1.0, 'lrp': 0.5, 'optimal_lrp': 0.0}
    >>> measure(truth, lane, ["calibration"])
    {'calibration_error': 0.375}
    """
    for name in measures:
        if name not in get_args(Measure):
            raise ConfigError(unknown_name("measure", name, get_args(Measure)))
    values: dict[str, float] = {}
    if "limits" in measures:
        limits = measure_limits(truth, detections)
        values |= {"ap_perfect_boxes": limits.perfect_boxes, "ap_perfect_ranking": limits.perfect_ranking}
    at_one = [name for name in ("calibration", "operating_point") if name in measures]
    table = match(truth, detections, iou_thresholds=[_IOU]) if at_one else None
    if "calibration" in measures:
        calibration = measure_calibration(truth, detections, iou=_IOU, table=table)
        values["calibration_error"] = calibration.expected_calibration_error
    if "operating_point" in measures:
        points = f1_and_lrp(truth, detections, iou=_IOU, table=table)
        values |= {"f1": points.f1, "best_f1": points.best_f1, "lrp": points.lrp, "optimal_lrp": points.optimal_lrp}
    return {name: -1.0 if math.isnan(value) else value for name, value in values.items()}
