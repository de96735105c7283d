"""Annotations of the dictionaries that torchvision's detectors are trained with: one for each image.

Labels may be 1 to n, as torchvision has them (0 is background there), or 0 to n - 1; the labels of all sets together
say which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.errors import DataError
from mapopt.metrics.bridges import dicts_ground_truth

CategoryNames = Sequence[str] | Mapping[int, str]
"""Names in the order of the labels, or the name of each label."""


@dataclass(frozen=True, eq=False)
class Categories:
    """What labels mean: ``[k]`` labels in rising order, and their names."""

    ids: NDArray[np.int64]
    names: tuple[str, ...]


def annotations_from_dicts(
    targets: Sequence[Mapping[str, Any]],
    *,
    sizes: ArrayLike,
    categories: CategoryNames | Categories | None = None,
    invalid: Invalid = "error",
) -> Annotations:
    """Returns the annotations of images in memory.

    Args:
        targets: a dictionary for each image: ``boxes`` ``[n, 4]`` corners in pixels and ``labels`` ``[n]``; perhaps
            ``image_id``, ``area`` ``[n]`` and ``iscrowd`` ``[n]``. Lists, arrays or tensors.
        sizes: ``[images, 2]`` (height, width) of each image, in pixels.
        categories: names; by default categories are called by their labels.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: something is missing, has another shape, or does not fit the image or the categories.

    >>> target = {"boxes": [[2, 3, 12, 9]], "labels": [1]}
    >>> annotations_from_dicts([target], sizes=[(20, 30)], categories=["cat"]).category_names
    ('cat',)
    """
    columns = columns_of(targets)
    known = categories if isinstance(categories, Categories) else find_categories([columns["labels"]], categories)
    extents = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    if len(extents) != len(targets):
        raise DataError(f"there are {len(extents)} sizes for {len(targets)} targets: expected one for each")
    place = {number: position for position, number in enumerate(columns["images"].tolist())}
    images = np.array([place[number] for number in columns["image_ids"].tolist()], dtype=np.int64)
    heights, widths = extents.T
    settled, kept = settle_boxes(
        columns["boxes"],
        widths[images],
        heights[images],
        invalid=invalid,
        name=lambda row: f"target {images[row]}, box {row - int(np.argmax(images == images[row]))}",
    )
    return Annotations(
        image_ids=columns["images"],
        file_names=tuple(f"image {number}" for number in columns["images"].tolist()),
        widths=widths,
        heights=heights,
        category_ids=known.ids,
        category_names=known.names,
        boxes=settled[kept],
        labels=np.searchsorted(known.ids, columns["labels"][kept]),
        images=images[kept],
        crowd=columns["crowd"][kept],
        area=columns["area"][kept],
        ids=np.arange(1, int(kept.sum()) + 1),
    )


def columns_of(targets: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Returns boxes, labels, image_ids, crowd and area of all boxes, and the ids of all images, as checked columns.

    Raises:
        DataError: something is missing or has another shape; the message names the target.
    """
    for number, target in enumerate(targets):
        boxes = target.get("boxes") if isinstance(target, Mapping) else None
        written = str(getattr(getattr(boxes, "format", None), "value", "XYXY"))
        if written != "XYXY":
            raise DataError(
                f"target {number} has boxes in the format {written}: expected corners, XYXY; "
                "torchvision.transforms.v2.ConvertBoundingBoxFormat converts them"
            )
    columns = dicts_ground_truth(targets)
    if columns["labels"].size and columns["labels"].dtype.kind not in "iu":
        raise DataError(f"labels are of type {columns['labels'].dtype}: expected whole numbers")
    return {**columns, "crowd": columns["crowd"].astype(bool), "labels": columns["labels"].astype(np.int64)}


def find_categories(labels: Sequence[NDArray[np.int64]], names: CategoryNames | None) -> Categories:
    """Returns the categories of labels.

    Args:
        labels: of every set.
        names: in the order of the labels, or of each label; None calls categories by their labels.

    Raises:
        DataError: there is no label and no name, or a label has no name.
    """
    known = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *labels]))
    if names is None:
        if not len(known):
            raise DataError("no target has a box, so that categories are unknown: give categories=[...]")
        return Categories(known, tuple(map(str, known.tolist())))
    if isinstance(names, Mapping):
        ids = np.array(sorted(names), dtype=np.int64)
        texts = tuple(str(names[number]) for number in ids.tolist())
    else:
        # Without a 0 they are torchvision's, where 0 is background.
        first = 0 if len(known) and known[0] == 0 else 1
        ids, texts = np.arange(first, first + len(names)), tuple(map(str, names))
    strange = known[~np.isin(known, ids)]
    if len(strange):
        raise DataError(
            f"label {strange[0]} has no name: expected labels from {ids[0]} to {ids[-1]} for the {len(ids)} categories "
            f"{', '.join(texts[:6])}{', ...' if len(texts) > 6 else ''}"
            if len(ids)
            else f"label {strange[0]} has no name: categories is empty"
        )
    return Categories(ids, texts)
