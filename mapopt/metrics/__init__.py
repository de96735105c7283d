"""How good detections are: average precision exactly as pycocotools computes it, many times faster.

>>> truth = GroundTruth([[0, 0, 10, 10]], labels=[1], image_ids=[1])
>>> report = evaluate(truth, Detections([[0, 0, 10, 9]], scores=[0.8], labels=[1], image_ids=[1]))
>>> print(f"{report.ap50:.2f} {report.ap75:.2f} {report.ap:.2f}")
1.00 1.00 0.90

`GroundTruth` and `Detections` take numpy arrays or tensors, COCO files (`from_coco`) and the dictionaries of
torchvision and torchmetrics (`from_dicts`). `evaluate` gives a `Report`, and `evaluate_lanes` evaluates many detectors
in one call. `match` says which ground truth each detection took; `analyze` and the functions that it calls say the
rest: curves, score thresholds, confusions, what AP is lost to, and how far scores are probabilities; `image_costs` says
which images cost AP, `measure_limits` what it would be with perfect boxes or a perfect ranking,
`fixed_average_precision` and `pooled_average_precision` what it is for many categories. `f1_and_lrp` is for a reward
that charges for false alarms, `voc_average_precision` for comparing with Pascal VOC's numbers. `bootstrap` and
`bootstrap_difference` say how far AP, and what one detector has more than another, may be off; `estimate`,
`paired_difference` and `probability_of_improvement` do so for the numbers of a few runs.

Undefined numbers are NaN, except in a `Report`, where they are -1 as in pycocotools.
"""

from mapopt.metrics.analysis.analyze import Analysis, analyze
from mapopt.metrics.analysis.bootstrap import Bootstrap, BootstrapDifference, bootstrap, bootstrap_difference
from mapopt.metrics.analysis.calibration import Calibration, Reliability, measure_calibration
from mapopt.metrics.analysis.causes import CAUSES, SPECIAL_CAUSES, Causes, error_causes
from mapopt.metrics.analysis.confusion import ConfusionMatrix, confusion_matrix
from mapopt.metrics.analysis.influence import image_costs
from mapopt.metrics.analysis.large_vocabulary import fixed_average_precision, pooled_average_precision
from mapopt.metrics.analysis.limits import Limits, measure_limits, with_perfect_boxes, with_perfect_ranking
from mapopt.metrics.analysis.operating_points import (
    F1AndLRP,
    OperatingPoints,
    Performance,
    f1_and_lrp,
    find_operating_points,
)
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.curves import Curve, PrecisionRecall, ThresholdCurves, precision_recall
from mapopt.metrics.evaluator import evaluate, evaluate_lanes
from mapopt.metrics.match_table import MatchTable, match
from mapopt.metrics.report import STATS, Report
from mapopt.metrics.settings import AREA_RANGES, MAX_DETECTIONS, RECALLS
from mapopt.metrics.statistics import (
    Estimate,
    bootstrap_interval,
    estimate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from mapopt.metrics.voc import VOCAveragePrecision, voc_average_precision

__all__ = [
    "AREA_RANGES",
    "CAUSES",
    "MAX_DETECTIONS",
    "RECALLS",
    "SPECIAL_CAUSES",
    "STATS",
    "Analysis",
    "Bootstrap",
    "BootstrapDifference",
    "Calibration",
    "Causes",
    "ConfusionMatrix",
    "Curve",
    "Detections",
    "Estimate",
    "F1AndLRP",
    "GroundTruth",
    "Limits",
    "MatchTable",
    "OperatingPoints",
    "Performance",
    "PrecisionRecall",
    "Reliability",
    "Report",
    "ThresholdCurves",
    "VOCAveragePrecision",
    "analyze",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_interval",
    "confusion_matrix",
    "error_causes",
    "estimate",
    "evaluate",
    "evaluate_lanes",
    "f1_and_lrp",
    "find_operating_points",
    "fixed_average_precision",
    "image_costs",
    "interquartile_mean",
    "match",
    "measure_calibration",
    "measure_limits",
    "paired_difference",
    "pooled_average_precision",
    "precision_recall",
    "probability_of_improvement",
    "voc_average_precision",
    "with_perfect_boxes",
    "with_perfect_ranking",
]
