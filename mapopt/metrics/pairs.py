"""The two inputs of every metric as a pair: checked to be what they should be, and taken regardless of category."""

from __future__ import annotations

from typing import Any

import numpy as np

from mapopt.errors import DataError
from mapopt.metrics.boxes import Detections, GroundTruth

ANY_CATEGORY = -1
"""What pycocotools calls the one category that is left where categories are not used."""


def check_pair(truth: Any, detections: Any) -> tuple[GroundTruth, Detections]:
    """Returns the two as they are, or says what to give instead.

    Raises:
        DataError: One of them is something else.
    """
    if isinstance(truth, Detections) and isinstance(detections, GroundTruth):
        raise DataError("detections are given first and the ground truth second: expected the ground truth first")
    for given, cls, name, example in (
        (truth, GroundTruth, "the ground truth is", "targets"),
        (detections, Detections, "detections are", "predictions"),
    ):
        if not isinstance(given, cls):
            raise DataError(
                f"{name} of type {type(given).__name__}: expected {cls.__name__}; make it of torchvision's lists with "
                f"{cls.__name__}.from_dicts({example}), of COCO files with {cls.__name__}.from_coco(path)"
            )
    return truth, detections


def regardless_of_category(truth: GroundTruth, detections: Detections) -> tuple[GroundTruth, Detections]:
    """Returns the same boxes in one category; detections of categories that are not evaluated are left out.

    Boxes go category by category, in ascending order of ids, which decides between equal scores as in pycocotools.
    """
    rows = np.argsort(truth.labels, kind="stable")
    kept = np.flatnonzero(np.isin(detections.labels, truth.categories))
    kept = kept[np.argsort(detections.labels[kept], kind="stable")]
    merged = GroundTruth(
        truth.boxes[rows],
        np.full(len(rows), ANY_CATEGORY),
        truth.image_ids[rows],
        crowd=truth.crowd[rows],
        area=truth.area[rows],
        images=truth.images,
        categories=[ANY_CATEGORY],
    )
    return merged, Detections(
        detections.boxes[kept], detections.scores[kept], np.full(len(kept), ANY_CATEGORY), detections.image_ids[kept]
    )
