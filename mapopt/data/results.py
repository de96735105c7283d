"""Reads and writes COCO results: a JSON list with one entry for every box that a detector reports."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mapopt.data.files import read_json
from mapopt.errors import DataError
from mapopt.files import write_text
from mapopt.metrics import Detections

_KEYS = ("image_id", "category_id", "bbox", "score")


def read_results(path: Path) -> Detections:
    """Returns the boxes of a results file, with its own ids.

    Raises:
        DataError: the file cannot be read, or an entry is wrong; the message names it.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        kind = "is an annotation file" if isinstance(entries, dict) and "annotations" in entries else "is not a list"
        raise DataError(f"{path}: {kind}. Expected COCO results: a list of objects with {', '.join(_KEYS)}.")
    columns: dict[str, list[Any]] = {key: [] for key in _KEYS}
    for number, entry in enumerate(entries):
        fault = _fault(entry)
        if fault:
            raise DataError(f"{path}: entry {number} {fault}.")
        for key, column in columns.items():
            column.append(entry[key])
    corners = np.array(columns["bbox"], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    try:
        return Detections(
            corners,
            np.array(columns["score"], dtype=np.float64),
            np.array(columns["category_id"], dtype=np.int64),
            np.array(columns["image_id"], dtype=np.int64),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_results(path: Path, found: Detections, *, image_ids: ArrayLike, category_ids: ArrayLike) -> None:
    """Writes a results file.

    Args:
        path: the file.
        found: boxes whose images and labels are positions.
        image_ids: the id of each image.
        category_ids: the id of each category.

    Raises:
        StoreError: the file cannot be written.
    """
    boxes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1).tolist()
    columns = (
        np.asarray(image_ids)[found.image_ids].tolist(),
        np.asarray(category_ids)[found.labels].tolist(),
        boxes,
        found.scores.tolist(),
    )
    lines = [json.dumps(dict(zip(_KEYS, row, strict=True))) for row in zip(*columns, strict=True)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def _fault(entry: Any) -> str:
    """Says what is wrong with an entry; empty if nothing is."""
    if not isinstance(entry, dict):
        return "is not an object in braces"
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        return f"has no '{missing[0]}'"
    for key in ("image_id", "category_id"):
        if type(entry[key]) is not int:
            return f"has '{key}' {entry[key]!r}: expected an integer"
    box, score = entry["bbox"], entry["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(type(number) in (int, float) for number in box):
        return f"has 'bbox' {box!r}: expected four numbers, left, top, width and height"
    if not all(abs(number) < inf for number in box):
        return f"has 'bbox' {box!r}: expected finite numbers of pixels"
    if box[2] < 0 or box[3] < 0:
        return f"has 'bbox' {box!r}: expected a width and a height of at least 0"
    return (
        "" if type(score) in (int, float) and abs(score) < inf else f"has 'score' {score!r}: expected a finite number"
    )
