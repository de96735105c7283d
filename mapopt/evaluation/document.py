"""Findings as plain values, for report.json: everything that was measured, by name, undefined numbers as null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mapopt.evaluation.findings import Comparison, Findings, fraction_worse
from mapopt.evaluation.tables import (
    MAIN,
    CategoryRow,
    DifferenceRow,
    category_rows,
    cause_rows,
    defined,
    difference_rows,
    main_numbers,
)
from mapopt.metrics import STATS, Calibration, Reliability
from mapopt.metrics.analysis.bootstrap import MOVED, PAIRED
from mapopt.metrics.statistics import Estimate

REPORT_VERSION = 2
"""Of ``report.json``."""


def as_document(findings: Findings, comparison: Comparison | None = None) -> dict[str, Any]:
    """Returns what goes into the file."""
    report, asked, points = findings.report, findings.questions, findings.analysis.operating_points
    numbers, confusion = main_numbers(findings), findings.analysis.confusion
    names = findings.truth.names
    content = {
        "version": REPORT_VERSION,
        "subject": findings.predictions.name,
        "truth": findings.truth.name,
        "images": len(findings.truth.notes),
        "objects": len(findings.truth.notes.labels),
        "detections": len(findings.predictions.detections),
        "left_out": findings.predictions.left_out,
        "iou": asked.iou,
        **{name: defined(value) for name, value in zip(STATS, report.stats.tolist(), strict=True)},
        "max_detections": list(report.max_detections),
        "average_recall": {
            str(limit): defined(report.average_recall(max_detections=limit)) for limit in report.max_detections
        },
        "ap_fixed": defined(findings.ap_fixed),
        "ap_pool": defined(findings.ap_pool),
        "images_without_detections": findings.without_detections,
        "remarks": [*findings.truth.remarks, *findings.predictions.remarks],
        "warnings": list(findings.predictions.warnings),
        "worst_images": [asdict(image) for image in findings.worst],
        "intervals": findings.intervals
        and {
            "level": findings.intervals.level,
            "resamples": asked.resamples,
            "seed": asked.seed,
            "method": MOVED,
            **{name: _ends(numbers[name]) for name in MAIN},
        },
        "mean_best_f1": points.mean_f1,
        "mean_optimal_lrp": points.mean_optimal_lrp,
        "mean_optimal_lrp_parts": {
            part: points.optimal_lrp.mean(f"lrp_{part}")
            for part in ("localization", "false_positive", "false_negative")
        },
        "pooled_best_f1": {
            name: float(getattr(points.pooled.best_f1, name)[0]) for name in ("threshold", "f1", "precision", "recall")
        },
        "voc": {"2007_11_point": findings.voc[0].mean, "2010_area": findings.voc[1].mean},
        "causes": {row.cause: {"count": row.count, "delta_ap": row.delta_ap} for row in cause_rows(findings)},
        "calibration": _calibration(findings.calibration),
        "calibration_of_kept": _calibration(findings.kept_calibration),
        "confusion": {
            "score_threshold": confusion.score_threshold,
            "rows": [*(names[category] for category in confusion.categories.tolist()), "background"],
            "columns": [*(names[category] for category in confusion.categories.tolist()), "nothing"],
            "counts": confusion.counts.tolist(),
        },
        "categories": [_category(row, findings.truth.own_ids[row.category]) for row in category_rows(findings)],
        "comparison": comparison and _comparison(comparison),
    }
    return _plain(content)  # type: ignore[no-any-return]


def _category(row: CategoryRow, own_id: Any) -> dict[str, Any]:
    return {
        "id": own_id,
        "name": row.name,
        "objects": row.objects,
        "images": row.images,
        "detections": row.detections,
        "ap": row.ap.value,
        "ap_interval": _ends(row.ap),
        "ap50": row.ap50,
        "ap75": row.ap75,
        "best_f1": asdict(row.best_f1),
        "optimal_lrp": asdict(row.optimal_lrp),
        "calibration_error": row.calibration_error,
        "voc": {"2007_11_point": row.voc[0], "2010_area": row.voc[1]},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    difference = comparison.difference
    main, categories = difference_rows(comparison)
    pairs = zip(cause_rows(comparison.ours), cause_rows(comparison.other), strict=True)
    return {
        "with": comparison.other.predictions.name,
        "interval_method": difference and PAIRED,
        **{row.name: _difference(row) for row in main},
        "fraction_better": difference and difference.better,
        "fraction_worse": difference and fraction_worse(difference),
        "categories": {row.name: _difference(row) for row in categories},
        "causes": {
            ours.cause: {
                "count": ours.count - other.count,
                "delta_ap": ours.delta_ap - other.delta_ap,
                "other_count": other.count,
                "other_delta_ap": other.delta_ap,
            }
            for ours, other in pairs
        },
    }


def _difference(row: DifferenceRow) -> dict[str, Any]:
    return {"ours": row.ours, "other": row.other, "difference": row.difference.value, "interval": _ends(row.difference)}


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {
        "expected_calibration_error": calibration.expected_calibration_error,
        "localization_aware_error": calibration.localization_aware_error,
        "bins": _bins(calibration.pooled),
    }


def _bins(diagram: Reliability) -> dict[str, Any]:
    return {
        "edges": diagram.edges.tolist(),
        "counts": diagram.counts.tolist(),
        **{name: getattr(diagram, name).tolist() for name in ("score", "precision", "quality")},
    }


def _ends(estimate: Estimate) -> list[float] | None:
    return None if math.isnan(estimate.low) else [estimate.low, estimate.high]


def _plain(value: Any) -> Any:
    """Returns values as JSON has them; it has neither NaN nor infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
