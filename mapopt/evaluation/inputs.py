"""What is evaluated: annotated and predicted boxes under the same ids, checked against each other before measuring.

A file of results knows nothing of its images, so most mistakes with it (another ground truth, another box format,
another numbering of the categories) would be a low AP and no error. They are looked for here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.misplaced import misplaced
from mapopt.errors import DataError
from mapopt.evaluation.ground_truth import UNKNOWN_SIZE, AnnotatedSet, id_order
from mapopt.evaluation.names import (
    Index,
    Meaning,
    RawResults,
    category_meaning,
    image_meaning,
    read_raw_results,
    show_id,
)
from mapopt.evaluation.numbering import Numbered, explain_categories, explain_images
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
    notes: Annotations | AnnotatedSet
    boxes: GroundTruth
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]

    @property
    def names(self) -> dict[int, str]:
        """Names of the categories, by what the metrics call them."""
        return dict(zip(self.category_ids.tolist(), self.notes.category_names, strict=True))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is unusual in the annotations, a sentence each."""
        return self.notes.remarks

    @property
    def own_ids(self) -> dict[int, Any]:
        """Ids of the categories in the file, by what the metrics call them."""
        return dict(zip(self.category_ids.tolist(), self.notes.category_ids.tolist(), strict=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """What a detector predicts.

    Attributes:
        name: What the boxes are of, such as the path of their file.
        detections: The boxes, with the ids of the ground truth.
        left_out: Boxes that were left out, because the ground truth does not list their image or their category.
        remarks: How ids were understood, a sentence each.
        warnings: What makes the numbers doubtful, a sentence each; said before them.
    """

    name: str
    detections: Detections
    left_out: int = 0
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def named_ground_truth(notes: Annotations | AnnotatedSet, *, name: str, by_position: bool = False) -> NamedGroundTruth:
    """Returns the ground truth of some annotations, named by the file's ids or by position.

    Raises:
        DataError: there is no object, or only crowds: nothing to find.
    """
    if notes.crowd.all():
        raise DataError(
            f"{name}: has no object to find, so that AP is undefined. Expected annotated images; files for test sets "
            "often list images alone."
        )
    images = np.arange(len(notes)) if by_position else id_order(notes.image_ids)
    categories = np.arange(len(notes.category_ids)) if by_position else id_order(notes.category_ids)
    return NamedGroundTruth(
        name=name,
        notes=notes,
        boxes=_metric_boxes(notes, images, categories),
        image_ids=images,
        category_ids=categories,
    )


def only_images_with_results(
    truth: NamedGroundTruth, predictions: Predictions, *others: Predictions
) -> NamedGroundTruth:
    """Returns the ground truth of the images in which some of the results have a box.

    Raises:
        DataError: these images have no object to find.
    """
    used = np.concatenate([results.detections.image_ids for results in (predictions, *others)])
    chosen = np.flatnonzero(np.isin(truth.image_ids, used))
    notes = truth.notes.select(chosen)
    if notes.crowd.all():
        raise DataError(
            f"{truth.name}: has no object in the images that have results. Expected some: check both files."
        )
    return replace(
        truth,
        notes=notes,
        boxes=_metric_boxes(notes, truth.image_ids[chosen], truth.category_ids),
        image_ids=truth.image_ids[chosen],
    )


def regardless_of_category(
    truth: NamedGroundTruth, *results: Predictions
) -> tuple[NamedGroundTruth, list[Predictions]]:
    """Returns the same with one category for everything, as ``useCats = 0`` has it in pycocotools.

    Boxes go category by category, which decides between equal scores as it does there.
    """
    notes = truth.notes
    order = np.argsort(truth.category_ids[notes.labels], kind="stable")
    columns = {name: getattr(notes, name)[order] for name in ("boxes", "images", "crowd", "area")}
    collapsed = AnnotatedSet(
        image_ids=notes.image_ids,
        file_names=notes.file_names,
        widths=notes.widths,
        heights=notes.heights,
        category_ids=np.zeros(1, np.int64),
        category_names=("any category",),
        labels=np.zeros(len(order), np.int64),
        root=notes.root,
        remarks=truth.remarks,
        **columns,
    )
    categories = np.zeros(1, np.int64)
    changed = replace(
        truth,
        notes=collapsed,
        boxes=_metric_boxes(collapsed, truth.image_ids, categories),
        category_ids=categories,
    )
    together = []
    for predictions in results:
        boxes = predictions.detections
        order = np.argsort(boxes.labels, kind="stable")
        merged = Detections(
            boxes.boxes[order], boxes.scores[order], np.zeros(len(order), np.int64), boxes.image_ids[order]
        )
        together.append(replace(predictions, detections=merged))
    return changed, together


def read_predictions(path: Path, truth: NamedGroundTruth, *, unknown: Unknown = "error") -> Predictions:
    """Returns the boxes of a file of results.

    Images and categories are those of the same id; where the entries say ``file_name`` and ``category_name``, or
    ``images.json`` of `mapopt predict` lies beside the file, those of the same file name and category name.

    Args:
        path: COCO results.
        truth: What they are compared with.
        unknown: What to do with boxes of images or categories that the ground truth does not list.

    Raises:
        DataError: the file cannot be read, or does not fit the ground truth; the message says where and how.
    """
    raw, notes = read_raw_results(path), truth.notes
    if len(raw) == 0:
        raise DataError(f"{path}: holds no box. A detector that detects nothing has AP 0; check that this one ran.")
    index = Index.of(path, raw)
    try:
        images = image_meaning(raw.images, notes.image_ids, notes.file_names, index)
        categories = category_meaning(raw.categories, notes.category_ids, notes.category_names, index)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    image, category = np.array(images.places)[raw.image], np.array(categories.places)[raw.category]
    known = (image >= 0) & (category >= 0)
    rows = np.flatnonzero(known)
    fault = _misplaced_of(raw, rows, image[rows], notes)
    if fault:
        raise DataError(f"{path}: {fault}")
    warnings = _explain_numbering(raw, images, categories, truth)
    if not known.all() and (unknown == "error" or not known.any()):
        text = _stranger(raw, images, categories, truth, unknown, explained=bool(warnings))
        raise DataError(f"{path}: {text}{f'Read by their boxes, {warnings[0]}.' if warnings else ''}")
    detections = Detections(
        raw.boxes[rows], raw.scores[rows], truth.category_ids[category[rows]], truth.image_ids[image[rows]]
    )
    return Predictions(
        name=str(path),
        detections=detections,
        left_out=len(raw) - len(rows),
        remarks=tuple(dict.fromkeys(remark for remark in (images.remark, categories.remark) if remark)),
        warnings=tuple(warnings),
    )


def _metric_boxes(
    notes: Annotations | AnnotatedSet, images: NDArray[np.int64], categories: NDArray[np.int64]
) -> GroundTruth:
    return GroundTruth(
        notes.boxes,
        categories[notes.labels],
        images[notes.images],
        crowd=notes.crowd,
        area=notes.area,
        images=images,
        categories=categories,
    )


def _misplaced_of(
    raw: RawResults, rows: NDArray[np.int64], image: NDArray[np.int64], notes: Annotations | AnnotatedSet
) -> str:
    """Says how boxes cannot be pixels of their images, as far as these images' sizes are known."""
    widths, heights = notes.widths[image], notes.heights[image]
    sized = (widths != UNKNOWN_SIZE) & (heights != UNKNOWN_SIZE)
    rows = rows[sized]
    if not len(rows):
        return ""
    return misplaced(raw.boxes[rows], widths[sized], heights[sized], name=lambda row: f"entry {rows[row]}")


def _explain_numbering(raw: RawResults, images: Meaning, categories: Meaning, truth: NamedGroundTruth) -> list[str]:
    """Says how categories or images are numbered otherwise than in the ground truth, as far as the boxes show it."""
    notes = truth.notes
    by_position = _metric_boxes(notes, np.arange(len(notes)), np.arange(len(notes.category_ids)))
    results = Numbered(
        boxes=raw.boxes,
        scores=raw.scores,
        image=raw.image,
        category=raw.category,
        image_values=raw.images,
        category_values=raw.categories,
        image_places=np.array(images.places),
        category_places=np.array(categories.places),
    )
    said = explain_categories(results, by_position, notes.category_ids.tolist(), notes.category_names)
    said = said or explain_images(results, by_position, notes.image_ids.tolist())
    return [said] if said else []


def _stranger(
    raw: RawResults, images: Meaning, categories: Meaning, truth: NamedGroundTruth, unknown: Unknown, *, explained: bool
) -> str:
    """Says which box is of an image or a category that the ground truth does not list."""
    kind, meaning, column, given, known = (
        ("image", images, raw.image, raw.images, truth.notes.image_ids)
        if -1 in images.places
        else ("category", categories, raw.category, raw.categories, truth.notes.category_ids)
    )
    strange = np.array(meaning.places)[column] < 0
    row = int(np.argmax(strange))
    listed = (
        f"its {len(known)} ids run from {known.min()} to {known.max()}"
        if known.dtype == np.int64
        else f"it has {len(known)} ids, such as {show_id(known[0])}"
    )
    text = (
        f"entry {row} is of {kind} {meaning.called[column[row]]}, which {truth.name} does not list ({listed}), like "
        f"{strange.sum()} of {len(raw)} entries. "
    )
    if explained:
        return text
    numbers = all(type(value) is int for value in given) and known.dtype == np.int64
    if kind == "category" and numbers and min(given) == 0 and known.min() == 1:
        return f"{text}Expected the ids of the annotation file; these seem to be positions from 0."
    if unknown == "drop":
        return f"{text}Nothing is left. Expected results for these images, with the ids of the annotation file."
    return f"{text}Give the ground truth of these results, or --unknown drop to leave such entries out."
