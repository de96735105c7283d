"""The objects of a set as the evaluator takes them: images and categories are named by their positions."""

from __future__ import annotations

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.metrics import GroundTruth


def truth_by_position(notes: Annotations) -> GroundTruth:
    """Returns the ground truth of annotations, in original pixels, as detectors name images and categories.

    Args:
        notes: of one set.
    """
    return GroundTruth(
        notes.boxes,
        notes.labels,
        notes.images,
        crowd=notes.crowd,
        area=notes.area,
        images=np.arange(len(notes)),
        categories=np.arange(len(notes.category_ids)),
    )
