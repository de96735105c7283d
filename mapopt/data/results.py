"""Reads and writes COCO results: a JSON list with one entry for every box that a detector reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mapopt.data.files import read_json
from mapopt.errors import DataError
from mapopt.files import write_text
from mapopt.metrics import Detections

FILE_NAME, CATEGORY_NAME = "file_name", "category_name"
"""Keys of the names behind an entry's ids, where it says them."""


def read_results(path: str | Path) -> Detections:
    """Returns the boxes of a results file, with its own ids.

    Raises:
        DataError: the file cannot be read, or an entry is wrong; the message names it.
    """
    entries = read_json(path)
    try:
        return Detections.from_coco(entries)
    except DataError as error:
        # What has no file is called by what it is.
        raise DataError(f"{path}: {str(error).removeprefix('COCO results: ')}") from None


def write_results(
    path: str | Path,
    detections: Detections,
    *,
    image_ids: ArrayLike,
    category_ids: ArrayLike,
    file_names: Sequence[str] = (),
    category_names: Sequence[str] = (),
) -> None:
    """Writes a results file.

    Args:
        path: the file.
        detections: boxes whose images and labels are positions.
        image_ids: the id of each image.
        category_ids: the id of each category.
        file_names: the name of each image, for entries that say it; COCO's tools pass over it.
        category_names: the name of each category, likewise.

    Raises:
        StoreError: the file cannot be written.
    """
    corners, extents = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
    columns = {
        "image_id": np.asarray(image_ids)[detections.image_ids].tolist(),
        "category_id": np.asarray(category_ids)[detections.labels].tolist(),
        "bbox": np.concatenate([corners, extents], axis=1).tolist(),
        "score": detections.scores.tolist(),
    }
    if file_names:
        columns[FILE_NAME] = [file_names[position] for position in detections.image_ids]
    if category_names:
        columns[CATEGORY_NAME] = [category_names[position] for position in detections.labels]
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")
