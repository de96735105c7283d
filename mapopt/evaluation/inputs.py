"""What is evaluated: annotated and predicted boxes under the same ids, checked against each other before measuring.

A file of results knows nothing of its images, so most mistakes with it (another ground truth, another box format,
another numbering of the categories) would be a low AP and no error. They are looked for here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.misplaced import misplaced
from mapopt.data.results import read_results
from mapopt.errors import DataError
from mapopt.metrics import Detections, GroundTruth

Unknown = Literal["error", "drop"]


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedGroundTruth:
    """Annotated boxes, and what their ids mean; made by `named_ground_truth`.

    Attributes:
        name: What messages call it.
        notes: The annotations as they were read.
        boxes: The same for the metrics.
        image_ids: ``[i]`` what the metrics call each image: its own id, or its position.
        category_ids: ``[k]`` the same of the categories.
    """

    name: str
    notes: Annotations
    boxes: GroundTruth
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]

    @property
    def names(self) -> dict[int, str]:
        """Names of the categories, by what the metrics call them."""
        return dict(zip(self.category_ids.tolist(), self.notes.category_names, strict=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """What a detector predicts.

    Attributes:
        name: What the boxes are of, such as the path of their file.
        detections: The boxes, with the ids of the ground truth.
        left_out: Boxes that were left out, because the ground truth does not list their image or their category.
    """

    name: str
    detections: Detections
    left_out: int = 0


def named_ground_truth(notes: Annotations, *, name: str, by_position: bool = False) -> NamedGroundTruth:
    """Returns the ground truth of some annotations, named by the file's ids or by position.

    Raises:
        DataError: there is no object, or only crowds: nothing to find.
    """
    if notes.crowd.all():
        raise DataError(
            f"{name}: has no object to find, so that AP is undefined. Expected annotated images; files for test sets "
            "often list images alone."
        )
    images = np.arange(len(notes)) if by_position else notes.image_ids
    categories = np.arange(len(notes.category_ids)) if by_position else notes.category_ids
    boxes = GroundTruth(
        notes.boxes,
        categories[notes.labels],
        images[notes.images],
        crowd=notes.crowd,
        area=notes.area,
        images=images,
        categories=categories,
    )
    return NamedGroundTruth(name=name, notes=notes, boxes=boxes, image_ids=images, category_ids=categories)


def read_predictions(path: Path, truth: NamedGroundTruth, *, unknown: Unknown = "error") -> Predictions:
    """Returns the boxes of a file of results.

    Args:
        path: COCO results; its ids are those of the annotations.
        truth: What they are compared with.
        unknown: What to do with boxes of images or categories that the ground truth does not list.

    Raises:
        DataError: the file cannot be read, or does not fit the ground truth; the message says where and how.
    """
    predicted, notes = read_results(path), truth.notes
    if len(predicted) == 0:
        raise DataError(f"{path}: holds no box. A detector that detects nothing has AP 0; check that this one ran.")
    image, category = _places(predicted.image_ids, notes.image_ids), _places(predicted.labels, notes.category_ids)
    known = (image >= 0) & (category >= 0)
    if not known.all() and (unknown == "error" or not known.any()):
        raise DataError(f"{path}: {_stranger(predicted, image, category, truth, unknown)}")
    kept = np.flatnonzero(known)
    image, category = image[kept], category[kept]
    fault = misplaced(
        predicted.boxes[kept], notes.widths[image], notes.heights[image], name=lambda row: f"entry {kept[row]}"
    )
    if fault:
        raise DataError(f"{path}: {fault}")
    detections = Detections(
        predicted.boxes[kept], predicted.scores[kept], truth.category_ids[category], truth.image_ids[image]
    )
    return Predictions(name=str(path), detections=detections, left_out=len(predicted) - len(kept))


def _places(given: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the position of each id among the known ones, -1 for none."""
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known[order], given), len(known) - 1)
    return np.where(known[order][place] == given, order[place], -1)


def _stranger(
    predicted: Detections,
    image: NDArray[np.int64],
    category: NDArray[np.int64],
    truth: NamedGroundTruth,
    unknown: Unknown,
) -> str:
    """Says which box is of an image or a category that the ground truth does not list."""
    kind, place, given, known = (
        ("image", image, predicted.image_ids, truth.notes.image_ids)
        if (image < 0).any()
        else ("category", category, predicted.labels, truth.notes.category_ids)
    )
    strange = place < 0
    row = int(np.argmax(strange))
    listed = f"its {len(known)} ids run from {known.min()} to {known.max()}"
    text = (
        f"entry {row} is of {kind} {given[row]}, which {truth.name} does not list ({listed}), like {strange.sum()} of "
        f"{len(predicted)} entries. "
    )
    if kind == "category" and given.min() == 0 and known.min() == 1:
        return f"{text}Expected the ids of the annotation file; these seem to be positions from 0."
    if unknown == "drop":
        return f"{text}Nothing is left. Expected results for these images, with the ids of the annotation file."
    return f"{text}Give the ground truth of these results, or --unknown drop to leave such entries out."
