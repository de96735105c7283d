"""Looks for boxes that cannot be right, each for itself or beside another: without area, outside, twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mapopt.data.auditing.findings import Finding
from mapopt.data.auditing.raw import Box, RawSet
from mapopt.data.invalid import OVERHANG
from mapopt.data.misplaced import misplaced

SAME = 0.95
"""IoU from which on two boxes of a class are the same box."""
NEAR = 0.7
"""IoU from which on two boxes of a class are nearly the same."""
OTHER_CLASS = 0.8
"""IoU from which on two boxes of different classes are on the same place."""
_FEW = 2
"""So many boxes may be far outside of their image before the form of all is doubted, as where sets are read."""


def check_boxes(raw: RawSet) -> list[Finding]:
    """Returns boxes without area, boxes that reach out of their image, and what is wrong with all of them at once."""
    sizes = raw.sizes[raw.images]
    known = np.asarray((sizes > 0).all(axis=1))
    findings = []
    said = misplaced(
        raw.boxes[known],
        sizes[known, 0],
        sizes[known, 1],
        name=lambda index: raw.places[int(np.flatnonzero(known)[index])],
        few=_FEW + int(0.1 * known.sum()),
    )
    if said:
        findings.append(Finding("misplaced_set", raw.part, f"the {raw.part} set", said.rstrip(".")))
    sides = raw.boxes[:, 2:] - raw.boxes[:, :2]
    flat = (sides <= 0).any(axis=1)
    for row in np.flatnonzero(flat).tolist():
        width, height = sides[row].tolist()
        said = f"has no area: {width:.7g} x {height:.7g} pixels"
        findings.append(_of(raw, "degenerate", row, said, figure=float(min(width, height))))
    out = np.concatenate([-raw.boxes[:, :2], raw.boxes[:, 2:] - sizes], axis=1).max(axis=1, initial=-np.inf)
    for row in np.flatnonzero(known & ~flat & (out > OVERHANG)).tolist():
        width, height = sizes[row].tolist()
        said = f"reaches {out[row]:.4g} pixels out of its image of {width} x {height} pixels"
        findings.append(_of(raw, "outside", row, said, figure=float(out[row])))
    return findings


def check_pairs(raw: RawSet) -> list[Finding]:
    """Returns boxes that lie on nearly the same place as an earlier one of their image."""
    findings = []
    for rows in rows_by_image(raw):
        rows = rows[~raw.crowd[rows] & (raw.boxes[rows, 2:] > raw.boxes[rows, :2]).all(axis=1)]
        if len(rows) < 2:
            continue
        overlap = np.triu(iou_matrix(raw.boxes[rows]), 1)
        same = raw.labels[rows, None] == raw.labels[rows]
        for later in range(1, len(rows)):
            for own, threshold in ((same[:, later], NEAR), (~same[:, later], OTHER_CLASS)):
                column = np.where(own[:later], overlap[:later, later], 0.0)
                first = int(column.argmax())
                if column[first] < threshold:
                    continue
                iou = float(column[first])
                names = [raw.category_names[raw.labels[row]] for row in (rows[later], rows[first])]
                if not own[first] or names[0] != names[1]:
                    kind, said = "two_classes", f"{names[0]} lies on a {names[1]} (IoU {iou:.2f})"
                else:
                    kind = "duplicate" if iou >= SAME else "near_duplicate"
                    said = f"{names[0]} lies on another {names[0]} (IoU {iou:.2f}): {raw.places[rows[first]]}"
                findings.append(_of(raw, kind, int(rows[later]), said, figure=iou, other=int(rows[first])))
    return findings


def rows_by_image(raw: RawSet) -> Iterator[NDArray[np.int64]]:
    """Yields the objects of every image that has some, in their order."""
    order = np.argsort(raw.images, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(raw.images[order])) + 1) if len(order) else ()


def iou_matrix(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns ``[n, n]`` intersection over union of boxes ``[n, 4]`` with area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    matrix: NDArray[np.float64] = inner / (area[:, None] + area[None] - inner)
    return matrix


def as_boxes(boxes: NDArray[np.float64]) -> tuple[Box, ...]:
    """Returns rows of four numbers as tuples."""
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes.tolist())


def _of(raw: RawSet, kind: str, row: int, said: str, *, figure: float, other: int | None = None) -> Finding:
    rows = [row] if other is None else [row, other]
    return Finding(
        kind,
        raw.part,
        raw.places[row],
        said,
        figure=figure,
        image=raw.file_names[raw.images[row]],
        boxes=as_boxes(raw.boxes[rows]),
        objects=tuple(rows),
    )
