"""pycocotools itself, silent: what AP is defined by, kept to check the fast evaluator against.

It takes numpy columns and builds pycocotools' dictionaries in memory; nothing is written or printed.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from mapopt.errors import DataError
from mapopt.metrics.accumulation import Curves
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.settings import RECALLS, Settings


def pycocotools_curves(truth: GroundTruth, detections: Detections, settings: Settings) -> Curves:
    """Returns what ``COCOeval`` gives for ``iouType="bbox"``."""
    evaluation = pycocotools_evaluation(truth, detections, settings)
    return Curves(
        precision=evaluation.eval["precision"].transpose(4, 3, 0, 2, 1),
        recall=evaluation.eval["recall"].transpose(3, 2, 0, 1),
        scores=evaluation.eval["scores"].transpose(4, 3, 0, 2, 1),
    )


def pycocotools_evaluation(truth: GroundTruth, detections: Detections, settings: Settings) -> Any:
    """Returns a ``COCOeval`` after ``evaluate()`` and ``accumulate()``.

    Raises:
        DataError: If a detection lies in an image that the ground truth does not list, as ``loadRes`` demands.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    unknown = ~np.isin(detections.image_ids, truth.images)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise DataError(
            f"detection {row} lies in image {detections.image_ids[row]}, which the ground truth does not list: "
            "give GroundTruth all images that were searched as `images`"
        )
    images = [{"id": image} for image in truth.images.tolist()]
    categories = [{"id": category} for category in truth.categories.tolist()]
    with contextlib.redirect_stdout(io.StringIO()):
        real, predicted = COCO(), COCO()
        real.dataset = {"images": images, "categories": categories, "annotations": _annotations(truth)}
        predicted.dataset = {"images": images, "categories": categories, "annotations": _annotations(detections)}
        real.createIndex()
        predicted.createIndex()
        evaluation = COCOeval(real, predicted, "bbox")
        evaluation.params.iouThrs = settings.iou_thresholds
        evaluation.params.recThrs = RECALLS
        evaluation.params.areaRng = settings.area_limits.tolist()
        evaluation.params.areaRngLbl = list(settings.area_names)
        evaluation.params.maxDets = list(settings.max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _annotations(boxes: GroundTruth | Detections) -> list[dict[str, Any]]:
    """Returns pycocotools' dictionaries; ids start at 1 because it takes 0 for "unmatched"."""
    corners = boxes.boxes
    sides = corners[:, 2:] - corners[:, :2]
    extra: dict[str, list]
    if isinstance(boxes, GroundTruth):
        extra = {"iscrowd": boxes.crowd.astype(int).tolist(), "area": boxes.area.tolist()}
    else:
        extra = {"score": boxes.scores.tolist(), "area": (sides[:, 0] * sides[:, 1]).tolist()}
    columns = {
        "id": range(1, len(boxes) + 1),
        "image_id": boxes.image_ids.tolist(),
        "category_id": boxes.labels.tolist(),
        "bbox": np.concatenate([corners[:, :2], sides], axis=1).tolist(),
        **extra,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
