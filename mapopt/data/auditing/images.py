"""Looks for images that are missing, cannot be read, have another size than annotated, or are turned or empty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapopt.data.auditing.boxes import as_boxes
from mapopt.data.auditing.findings import Finding
from mapopt.data.auditing.pictures import Look
from mapopt.data.auditing.placement import SUSPECT, placements
from mapopt.data.auditing.raw import RawSet


def check_images(raw: RawSet, looks: Sequence[Look]) -> list[Finding]:
    """Returns what is wrong with image files, and which images have no object."""
    findings = []
    busy = np.bincount(raw.images, minlength=len(raw.file_names)) > 0
    for image, (name, look) in enumerate(zip(raw.file_names, looks, strict=True)):
        annotated = (int(raw.sizes[image, 0]), int(raw.sizes[image, 1]))

        def add(kind: str, said: str, name: str = name) -> None:
            findings.append(Finding(kind, raw.part, name, said, image=name))

        if not look.digest:
            add("missing_image", look.fault)
        elif look.fault:
            add("unreadable_image", look.fault)
        elif min(annotated) and look.size != annotated:
            if look.orientation in (5, 6, 7, 8) and look.size[::-1] == annotated:
                add("turned", f"EXIF turns it (orientation {look.orientation}), and its boxes are on the stored view")
            else:
                add(
                    "wrong_size",
                    f"is {look.size[0]} x {look.size[1]} pixels, annotated as {annotated[0]} x {annotated[1]}",
                )
        elif look.orientation != 1:
            add("turned_upright", f"EXIF turns it (orientation {look.orientation}); its boxes are on the upright view")
        if not busy[image]:
            add("empty", "has no object")
    return findings


def check_placement(
    raws: Sequence[RawSet], looks: Sequence[Sequence[Look]], *, suspect: float = SUSPECT
) -> list[Finding]:
    """Returns the label files whose boxes would fit better elsewhere by `suspect`, of all sets together."""
    owners, pictures, boxes, sizes, rows_of = [], [], [], [], []
    for raw, own in zip(raws, looks, strict=True):
        with_area = (raw.boxes[:, 2:] > raw.boxes[:, :2]).all(axis=1)
        for image, look in enumerate(own):
            rows = np.flatnonzero((raw.images == image) & with_area)
            # Boxes of an image of another size lie elsewhere for that reason.
            same_size = sorted(look.size) == sorted(raw.sizes[image].tolist())
            if len(rows) and not look.fault and same_size:
                owners.append((raw, image))
                pictures.append(look.small)
                boxes.append(raw.boxes[rows])
                sizes.append((int(raw.sizes[image, 0]), int(raw.sizes[image, 1])))
                rows_of.append(rows)
    findings = []
    for (raw, image), placed, own_boxes, rows in zip(
        owners, placements(pictures, boxes, sizes), boxes, rows_of, strict=True
    ):
        if placed.gain >= suspect:
            x, y = placed.shift
            sideways, along = (
                f"{abs(x):.0f} {'right' if x > 0 else 'left'}",
                f"{abs(y):.0f} {'down' if y > 0 else 'up'}",
            )
            said = f"fits better {sideways} and {along} (pixels, {len(rows)} boxes)"
            name = raw.file_names[image]
            shifted = own_boxes + np.tile(placed.shift, 2)
            findings.append(
                Finding(
                    "shifted_file",
                    raw.part,
                    name,
                    said,
                    figure=placed.gain,
                    image=name,
                    boxes=as_boxes(np.concatenate([own_boxes, shifted])),
                    objects=tuple(rows.tolist()),
                )
            )
    return findings
