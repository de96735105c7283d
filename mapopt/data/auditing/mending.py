"""Writes a mended copy of an audited data set: what can be mended without a look at it, and nothing else.

Boxes without area go, those over the edge are cut, the later of two boxes of a class on one place goes, images that
cannot be read go with their objects, sizes are corrected where the picture was only scaled, and images that a later set
has too leave the earlier set. What needs a person stays as it is, and is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.findings import KINDS
from mapopt.data.auditing.raw import RawSet
from mapopt.data.invalid import wrong_boxes
from mapopt.data.writing import Format, ImageFiles, WrittenSets, write_sets
from mapopt.errors import DataError
from mapopt.wording import speaks_python

MENDED = (
    "unreadable_label", "unknown_category", "unknown_image", "degenerate", "outside", "duplicate", "near_duplicate",
    "missing_image", "unreadable_image", "wrong_size", "leak_file", "leak_picture",
)  # fmt: skip
"""Kinds of findings that are mended."""

_SAME_SHAPE = 0.01
"""By how much the ratio of the sides may differ where a picture was only scaled: rounding of the smaller size."""


@speaks_python
def mend(
    audit: Audit, out: str | Path, *, to: Format = "coco", images: ImageFiles = "link", overwrite: bool = False
) -> WrittenSets:
    """Writes a mended copy of an audited data set into a new folder; the old one stays as it is.

    Args:
        audit: the audit, of which the findings of the kinds in `MENDED` are mended.
        out: the new folder.
        to: what to write: ``"coco"``, ``"voc"`` or ``"yolo"``.
        images: ``"link"``, ``"copy"`` or ``"none"``, see `mapopt.data.convert`.
        overwrite: replace the data set that mapopt wrote into `out`.

    Raises:
        DataError: no image is left in a set, or the boxes of a whole set are in another form.
        StoreError: `out` is not empty, or cannot be written.
    """
    for finding in audit.of("misplaced_set"):
        raise DataError(f"{finding.place}: {finding.message}. Correct this first: it is not mended.")
    sets, files = {}, {}
    for raw, seen in zip(audit.sets, audit.seen_sizes, strict=True):
        sets[raw.part], files[raw.part] = _mended(audit, raw, seen)
    remarks = []
    for kind, count in audit.counts.items():
        if kind in MENDED:
            remarks.append(f"Mended: {count} x {KINDS[kind].title}.")
        elif KINDS[kind].severity != "note":
            remarks.append(f"Left as it is: {count} x {KINDS[kind].title}; {KINDS[kind].advice}.")
    written = write_sets(
        sets,
        out,
        to=to,
        images=images,
        overwrite=overwrite,
        sources=[audit.data],
        files=None if images == "none" else files,
    )
    return replace(written, notes=(*remarks, *written.notes))


def _mended(audit: Audit, raw: RawSet, seen: NDArray[np.int64]) -> tuple[Annotations, Mapping[str, Path]]:
    """Returns a set without what is mended, and the file of every image by its name."""
    keep_object = np.ones(len(raw.labels), dtype=bool)
    keep_image = np.ones(len(raw.file_names), dtype=bool)
    places: dict[str, int] = {}
    for image, name in enumerate(raw.file_names):
        places.setdefault(name, image)
    for finding in audit.findings:
        if finding.part == raw.part and finding.kind in ("duplicate", "near_duplicate"):
            keep_object[finding.objects[0]] = False
        if finding.part == raw.part and finding.kind in ("missing_image", "unreadable_image"):
            keep_image[places[finding.image]] = False
        if finding.kind in ("leak_file", "leak_picture") and finding.other and finding.other[0] == raw.part:
            keep_image[places[finding.other[1]]] = False
    # An image that is listed twice is one image with all its objects.
    first = np.array([places[name] for name in raw.file_names])
    keep_image &= first == np.arange(len(first))
    sizes, scale = _sizes(raw, seen)
    keep_image &= (sizes > 0).all(axis=1)
    if not keep_image.any():
        raise DataError(f"no image of the {raw.part} set is left. Look at the findings first: mapopt audit.")
    owners = first[raw.images]
    limits = np.tile(sizes[owners], 2).astype(np.float64)
    boxes = raw.boxes * np.tile(scale[owners], 2)
    outside = wrong_boxes(boxes, limits[:, 0].astype(np.int64), limits[:, 1].astype(np.int64))
    cut = np.where(outside[:, None], np.clip(boxes, 0, limits), boxes)
    keep_object &= keep_image[owners] & (cut[:, 2:] > cut[:, :2]).all(axis=1)
    order = np.flatnonzero(keep_object)
    order = order[np.argsort(owners[order], kind="stable")]
    kept = np.flatnonzero(keep_image)
    position = np.full(len(first), -1)
    position[kept] = np.arange(len(kept))
    box_area = (cut[order, 2:] - cut[order, :2]).prod(axis=1)
    area = raw.area[order] * scale[owners[order]].prod(axis=1)
    area = np.where(np.isfinite(area) & (area > 0), np.minimum(area, box_area), box_area)
    notes = Annotations(
        image_ids=np.arange(1, len(kept) + 1),
        file_names=tuple(raw.file_names[image] for image in kept),
        widths=sizes[kept, 0],
        heights=sizes[kept, 1],
        category_ids=raw.category_ids,
        category_names=raw.category_names,
        boxes=cut[order],
        labels=raw.labels[order],
        images=position[owners[order]],
        crowd=raw.crowd[order],
        area=area,
        ids=np.arange(1, len(order) + 1),
    )
    return notes, {raw.file_names[image]: raw.paths[image] for image in kept}


def _sizes(raw: RawSet, seen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the size of every image, 0 where it must go, and by what boxes are multiplied.

    Args:
        raw: the set.
        seen: ``[I, 2]`` sizes of the files, 0 where they were not looked at or cannot be read.
    """
    sizes, scale = raw.sizes.copy(), np.ones(raw.sizes.shape)
    for image, (annotated, real) in enumerate(zip(raw.sizes, seen, strict=True)):
        if not real.all() or (real == annotated).all() or (real[::-1] == annotated).all():
            continue
        if not annotated.all():
            sizes[image] = real
            continue
        factors = real / annotated
        sizes[image] = real if abs(factors[0] / factors[1] - 1) <= _SAME_SHAPE else 0
        scale[image] = factors
    return sizes, scale
