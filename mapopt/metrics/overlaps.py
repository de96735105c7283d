"""IoU of pairs of boxes, to the bit as the evaluator computes it, for what looks at matches more closely than AP does.

`pair_iou` is for pairs that are known already, `image_pairs` finds them in every image, whatever their categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.groups import corners_as_pycocotools
from mapopt.metrics.layout import lay_out
from mapopt.metrics.matching import overlapping_pairs

ALMOST_ONE = 1 - 1e-10
"""What an IoU threshold of 1 is compared as: the rounding of coordinates is forgiven, as the evaluator does."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """Detections and ground truths of one image that overlap, in no particular order.

    Attributes:
        detection: ``[p]`` rows of the detections.
        truth: ``[p]`` rows of the ground truths.
        iou: ``[p]`` their IoUs; of a crowd, the part of the detection that lies inside it.
    """

    detection: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]

    def where(self, kept: NDArray[np.bool_]) -> Pairs:
        """Returns the pairs of a ``[p]`` mask."""
        return Pairs(detection=self.detection[kept], truth=self.truth[kept], iou=self.iou[kept])


def pair_iou(
    boxes: NDArray[np.float64], others: NDArray[np.float64], crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Returns ``[n]`` IoUs of pairs of boxes; boxes that do not overlap have 0.

    Args:
        boxes: ``[n, 4]`` detections, corners x1, y1, x2, y2.
        others: ``[n, 4]`` the ground truth that each is compared with.
        crowd: ``[n]`` True where that is a crowd: the union is then the detection alone.

    >>> pair_iou(np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 5]])).tolist()
    [0.5]
    """
    (mine, area), (theirs, other_area) = corners_as_pycocotools(boxes), corners_as_pycocotools(others)
    width = np.minimum(mine[2], theirs[2]) - np.maximum(mine[0], theirs[0])
    height = np.minimum(mine[3], theirs[3]) - np.maximum(mine[1], theirs[1])
    meet = (width > 0) & (height > 0)
    intersection = np.where(meet, width * height, 0.0)
    union = area + other_area - intersection
    if crowd is not None:
        union = np.where(crowd, area, union)
    return np.divide(intersection, union, out=np.zeros(len(boxes)), where=meet)


def image_pairs(truth: GroundTruth, detections: Detections, *, minimum: float) -> Pairs:
    """Returns all pairs within an image whose IoU is at least ``minimum`` > 0, of equal category or not.

    Raises:
        DataError: If a detection lies in an image that the ground truth does not list.
    """
    everything = GroundTruth(
        truth.boxes, np.zeros(len(truth), int), truth.image_ids, crowd=truth.crowd, images=truth.images, categories=[0]
    )
    candidates = Detections(
        detections.boxes, np.zeros(len(detections)), np.zeros(len(detections), int), detections.image_ids
    )
    layout = lay_out([everything], [candidates], limit=max(len(detections), 1))
    position, target, iou = overlapping_pairs(layout, minimum)
    return Pairs(detection=layout.source[position], truth=everything.index.source[target], iou=iou)


def best_of_each(keys: NDArray[np.int64], *preference: NDArray) -> NDArray[np.int64]:
    """Returns one index for every distinct key: the entry with the largest first preference, then the next ones.

    Args:
        keys: ``[n]`` what the entries compete for.
        *preference: ``[n]`` numbers, the most important first; of entries equal in all, the first wins.
    """
    order = np.lexsort((*(-column for column in reversed(preference)), keys))
    sorted_keys = keys[order]
    return order[np.append(True, sorted_keys[1:] != sorted_keys[:-1])[: len(order)]]
