"""All images of an audited data set as one: what detectors look at, with the way back to sets, images and objects.

What no detector can be held against is left out: images that are missing, damaged or of another size than annotated,
and boxes without area. Such faults are found without a model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.findings import Finding
from mapopt.data.auditing.raw import RawSet
from mapopt.data.invalid import wrong_boxes
from mapopt.errors import DataError

_WRONG_IMAGE = ("missing_image", "unreadable_image", "wrong_size")
_MISPLACED = ("misplaced_set",)


@dataclass(frozen=True, eq=False)
class Pool:
    """The images and objects that detectors can be held against.

    Attributes:
        annotations: ``I`` images and ``N`` objects of all sets; file names are whole paths.
        parts: names of the sets.
        part: int64 ``[I]``, the set of each image, a position in `parts`.
        image: int64 ``[I]``, its position in its set.
        row: int64 ``[N]``, each object's position in its set.
    """

    annotations: Annotations
    parts: tuple[str, ...]
    part: NDArray[np.int64]
    image: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.annotations)


def pool_of(audit: Audit) -> Pool:
    """Returns what detectors can be held against of an audited data set.

    Args:
        audit: of all kinds that are about images, as `mapopt.data.audit` makes it by default.

    Raises:
        DataError: no image with an object is left, or the boxes of a whole set are in another form.
    """
    for finding in audit.findings:
        if finding.kind in _MISPLACED:
            raise DataError(
                f"{finding.place}: {finding.message}. Correct this first: no detector can be held against it."
            )
    names = list(dict.fromkeys(name for raw in audit.sets for name in raw.category_names))
    columns: dict[str, list[NDArray]] = {
        name: [] for name in ("part", "image", "sizes", "row", "boxes", "labels", "crowd", "owner")
    }
    paths: list[str] = []
    for number, raw in enumerate(audit.sets):
        good = _usable_images(raw, audit.findings, known=set(paths))
        place = np.full(len(raw.file_names), -1)
        place[good] = len(paths) + np.arange(len(good))
        sizes = raw.sizes[raw.images]
        rows = np.flatnonzero((place[raw.images] >= 0) & ~wrong_boxes(raw.boxes, sizes[:, 0], sizes[:, 1]))
        paths += [_path(raw, image) for image in good.tolist()]
        columns["part"].append(np.full(len(good), number))
        columns["image"].append(good)
        columns["sizes"].append(raw.sizes[good])
        columns["row"].append(rows)
        columns["boxes"].append(raw.boxes[rows])
        columns["labels"].append(np.array([names.index(name) for name in raw.category_names])[raw.labels[rows]])
        columns["crowd"].append(raw.crowd[rows])
        columns["owner"].append(place[raw.images[rows]])
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    if not len(whole["row"]):
        raise DataError(f"{audit.data}: has no image with an object that a detector can be held against.")
    boxes = whole["boxes"]
    annotations = Annotations(
        image_ids=np.arange(len(paths)),
        file_names=tuple(paths),
        widths=whole["sizes"][:, 0],
        heights=whole["sizes"][:, 1],
        category_ids=np.arange(len(names)),
        category_names=tuple(names),
        boxes=boxes,
        labels=whole["labels"],
        images=whole["owner"],
        crowd=whole["crowd"],
        area=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        ids=np.arange(len(boxes)),
        root=Path(os.sep),
    )
    return Pool(annotations, tuple(raw.part for raw in audit.sets), whole["part"], whole["image"], whole["row"])


def _usable_images(raw: RawSet, findings: Sequence[Finding], *, known: set[str]) -> NDArray[np.int64]:
    """Returns the images of a set that can be looked at, each file once."""
    wrong = {finding.image for finding in findings if finding.part == raw.part and finding.kind in _WRONG_IMAGE}
    seen = set(known)
    good = []
    for image, name in enumerate(raw.file_names):
        path = _path(raw, image)
        if name not in wrong and path not in seen and raw.sizes[image].all():
            good.append(image)
            seen.add(path)
    return np.array(good, dtype=np.int64)


def _path(raw: RawSet, image: int) -> str:
    return os.path.abspath(raw.paths[image])
