"""Annotated boxes and boxes that a detector reports: the two inputs of every metric.

Both are checked once, when they are made, and kept as float64 and int64 numpy columns. A wrong box is an error here,
with its number, and never a slightly wrong metric later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.errors import DataError
from mapopt.metrics.bridges import coco_detections, coco_ground_truth, dicts_detections, dicts_ground_truth, host
from mapopt.metrics.groups import GroundTruthIndex, Places

# Beyond these an area leaves float64's range, and 0/0 or inf/inf would decide a match.
_LARGEST_COORDINATE = 1e150
_SMALLEST_SIDE = 1e-150


@dataclass(frozen=True, eq=False, repr=False)
class GroundTruth:
    """The annotated boxes, with the images and categories that are evaluated.

    Args:
        boxes: ``[n, 4]`` corners x1, y1, x2, y2 in pixels; an array or a tensor.
        labels: ``[n]`` category ids, any integers.
        image_ids: ``[n]`` image ids, any integers.
        crowd: ``[n]`` True where a box covers a group: it is matched by any number of detections and never counted.
        area: ``[n]`` areas that decide small, medium and large; default is width times height.
        images: Ids of all images that are evaluated, those without a box included; default is those with one.
        categories: Ids of all categories that are evaluated; default is those with a box.

    Raises:
        DataError: If a shape is wrong, a number is not finite, corners are swapped, or an id is not in the full list.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [7], [1], images=[1, 2])
    >>> len(truth), truth.images.tolist(), truth.categories.tolist()
    (1, [1, 2], [7])
    """

    boxes: Any
    labels: Any
    image_ids: Any
    crowd: Any = None
    area: Any = None
    images: Any = None
    categories: Any = None

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes, "ground truth")
        count = len(boxes)
        labels = _whole_numbers(self.labels, "labels", "ground truth", count)
        image_ids = _whole_numbers(self.image_ids, "image_ids", "ground truth", count)
        crowd = np.zeros(count, bool) if self.crowd is None else _flags(self.crowd, count)
        if self.area is None:
            area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        else:
            area = _numbers(self.area, "area", "ground truth", count)
            if not np.isfinite(area).all():
                raise DataError(f"area of ground truth {_first(~np.isfinite(area))} is not finite: give pixels squared")
        images = _distinct(image_ids if self.images is None else _whole_numbers(self.images, "images", "ground truth"))
        categories = _distinct(
            labels if self.categories is None else _whole_numbers(self.categories, "categories", "ground truth")
        )
        _freeze(self, boxes=boxes, labels=labels, image_ids=image_ids, crowd=crowd, area=area)
        _freeze(self, images=images, categories=categories)
        _expect_known(image_ids, self._places.image, len(images), "image id", "images")
        _expect_known(labels, self._places.category, len(categories), "label", "categories")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"GroundTruth({len(self)} boxes, {len(self.images)} images, {len(self.categories)} categories)"

    @classmethod
    def from_coco(cls, annotations: Any) -> GroundTruth:
        """Takes boxes from COCO annotations, with the file's own ids.

        Corners are formed of x, y, width and height as pycocotools forms them.

        Args:
            annotations: the path of a file, what is in it as a dictionary, or a ``pycocotools.coco.COCO``.

        Raises:
            DataError: it cannot be read, or an entry is wrong; the message names it.
        """
        return cls(**coco_ground_truth(annotations))

    @classmethod
    def from_dicts(cls, targets: Any, *, categories: Any = None) -> GroundTruth:
        """Takes boxes from the targets of torchvision's detectors and of torchmetrics.

        Args:
            targets: a dictionary for each image: ``boxes`` ``[n, 4]`` x1, y1, x2, y2 and ``labels`` ``[n]``; perhaps
                ``image_id``, ``iscrowd`` ``[n]`` and ``area`` ``[n]``. Lists, arrays or tensors. Without ids an image's
                id is its position.
            categories: Ids of all categories that are evaluated; default is those with a box.

        Raises:
            DataError: something is missing or has another shape; the message names the target.

        >>> targets = [{"boxes": [[0, 0, 10, 10]], "labels": [7]}, {"boxes": [], "labels": []}]
        >>> GroundTruth.from_dicts(targets)
        GroundTruth(1 boxes, 2 images, 1 categories)
        """
        return cls(**dicts_ground_truth(targets), categories=categories)

    @cached_property
    def index(self) -> GroundTruthIndex:
        """The boxes grouped by image and category, made at the first evaluation and kept."""
        return GroundTruthIndex.of(boxes=self.boxes, places=self._places, crowd=self.crowd, area=self.area)

    @cached_property
    def _places(self) -> Places:
        return Places.of(self.images, self.image_ids, self.categories, self.labels)


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The boxes that a detector reports, in any order.

    Tensors on any device are accepted and come to the host once, here.

    Args:
        boxes: ``[n, 4]`` corners x1, y1, x2, y2 in pixels.
        scores: ``[n]`` confidences; only their order counts. Equal scores are ordered by image, then as given.
        labels: ``[n]`` category ids. A category that the ground truth does not list is not evaluated.
        image_ids: ``[n]`` image ids.

    Raises:
        DataError: If a shape is wrong, a number is not finite (a score may be infinite), or corners are swapped.
    """

    boxes: Any
    scores: Any
    labels: Any
    image_ids: Any

    def __post_init__(self) -> None:
        boxes = _boxes(self.boxes, "detection")
        scores = _numbers(self.scores, "scores", "detection", len(boxes))
        if len(scores) and np.isnan(scores.min()):
            raise DataError(
                f"score of detection {_first(np.isnan(scores))} is NaN: the detector has diverged, or divides by zero"
            )
        labels = _whole_numbers(self.labels, "labels", "detection", len(boxes))
        image_ids = _whole_numbers(self.image_ids, "image_ids", "detection", len(boxes))
        _freeze(self, boxes=boxes, scores=scores, labels=labels, image_ids=image_ids)

    @classmethod
    def from_coco(cls, results: Any) -> Detections:
        """Takes boxes from COCO results, with the file's own ids.

        Args:
            results: the path of a file, the list of dictionaries that is in it (``image_id``, ``category_id``, ``bbox``
                as x, y, width, height, and ``score``), or what ``COCO.loadRes`` returns.

        Raises:
            DataError: it cannot be read, or an entry is wrong; the message names it.

        >>> Detections.from_coco([{"image_id": 3, "category_id": 7, "bbox": [5, 5, 10, 10], "score": 0.9}]).boxes
        array([[ 5.,  5., 15., 15.]])
        """
        return cls(**coco_detections(results))

    @classmethod
    def from_dicts(cls, predictions: Any, *, images: Any = None) -> Detections:
        """Takes boxes from the outputs of torchvision's detectors, which torchmetrics takes, too.

        Args:
            predictions: a dictionary for each image: ``boxes`` ``[n, 4]`` x1, y1, x2, y2, ``labels`` ``[n]`` and
                ``scores`` ``[n]``, perhaps ``image_id``. Lists, arrays or tensors.
            images: Ids of these images, in their order; default is ``image_id``, or an image's position.

        Raises:
            DataError: something is missing or has another shape; the message names the prediction.
        """
        return cls(**dicts_detections(predictions, images))

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"Detections({len(self)} boxes)"


def _freeze(target: GroundTruth | Detections, **columns: NDArray) -> None:
    """Stores checked columns; they are made read-only so that nothing derived from them can go stale."""
    for name, column in columns.items():
        column = column.view()
        column.flags.writeable = False
        object.__setattr__(target, name, column)


def _numbers(values: ArrayLike, name: str, owner: str, count: int | None = None) -> NDArray[np.float64]:
    try:
        column = np.array(host(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{owner} {name} must be numbers of one length: {error}") from None
    return _expect_length(column, name, owner, count)


def _whole_numbers(values: ArrayLike, name: str, owner: str, count: int | None = None) -> NDArray[np.int64]:
    try:
        column = host(values)
    except ValueError as error:
        raise DataError(f"{owner} {name} must be whole numbers of one length: {error}") from None
    if column.size and column.dtype.kind not in "iu":
        raise DataError(f"{owner} {name} have type {column.dtype}: give integers, as in the annotation file")
    return _expect_length(np.array(column, dtype=np.int64), name, owner, count)


def _flags(values: ArrayLike, count: int) -> NDArray[np.bool_]:
    column = host(values)
    if column.size and (column.dtype.kind not in "biu" or not np.isin(column, (0, 1)).all()):
        raise DataError(f"ground truth crowd has type {column.dtype}: give True or False, or 0 and 1, for every box")
    return _expect_length(np.array(column, dtype=bool), "crowd", "ground truth", count)


def _expect_length(column: NDArray, name: str, owner: str, count: int | None) -> NDArray:
    if column.ndim != 1 or (count is not None and len(column) != count):
        wanted = "one dimension" if count is None else f"shape ({count},), one for every box"
        raise DataError(f"{owner} {name} have shape {column.shape}: expected {wanted}")
    return column


def _boxes(values: ArrayLike, owner: str) -> NDArray[np.float64]:
    """Returns ``[n, 4]`` boxes, or says which one is wrong and how."""
    try:
        boxes = np.array(host(values), dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"{owner} boxes must be numbers of shape (n, 4): {error}") from None
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{owner} boxes have shape {boxes.shape}: expected (n, 4), corners x1, y1, x2, y2")
    if len(boxes) == 0:
        return boxes
    # Extremes find NaN, infinity and absurd sizes; the message is worked out only where there is one.
    if not (boxes.min() >= -_LARGEST_COORDINATE and boxes.max() <= _LARGEST_COORDINATE):
        row = _first(~(np.abs(boxes) <= _LARGEST_COORDINATE).all(axis=1))
        raise DataError(f"{owner} {row} has box {boxes[row].tolist()}: expected finite pixel coordinates")
    x1, y1, x2, y2 = boxes.T
    if min((x2 - x1).min(), (y2 - y1).min()) >= _SMALLEST_SIDE:
        return boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    odd = sides < _SMALLEST_SIDE
    if (odd & (sides != 0)).any():
        row = _first((odd & (sides != 0)).any(axis=1))
        if (sides[row] < 0).any():
            raise DataError(
                f"{owner} {row} has box {boxes[row].tolist()} with swapped corners: expected x1 <= x2 and y1 <= y2; "
                "boxes given as x, y, width, height must be converted"
            )
        raise DataError(f"{owner} {row} has box {boxes[row].tolist()}: its sides are too small to have an area")
    return boxes


def _distinct(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns ids in ascending order, each once; those that are so already are not sorted."""
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


def _expect_known(ids: NDArray[np.int64], place: NDArray[np.int64], known: int, kind: str, argument: str) -> None:
    if len(place) and place.min() < 0:
        row = int(np.argmin(place))
        raise DataError(
            f"ground truth {row} has {kind} {ids[row]}, which is not in `{argument}` "
            f"({known} ids): add it there or leave the box out"
        )


def _first(mask: ArrayLike) -> int:
    return int(np.flatnonzero(mask)[0])
