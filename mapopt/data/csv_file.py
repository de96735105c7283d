"""Reads Roboflow's ``_annotations.csv``: a table with one box on each line, beside the images.

Images without a box are in no line, so they are taken from the folder; sizes are those that the lines state.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.files import blame, read_text
from mapopt.data.image_files import image_size, is_image_name
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.data.paths import with_slashes
from mapopt.errors import DataError

_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")


def read_csv(path: Path, categories: tuple[str, ...], *, invalid: Invalid = "error") -> Annotations:
    """Reads one set: the boxes of a table, and all images beside it.

    Args:
        path: the table, with the columns filename, width, height, class, xmin, ymin, xmax and ymax.
        categories: the names of all sets' categories, see `csv_categories`.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: the table or an image is missing or wrong; the message names the line.
    """
    rows = _rows(path)
    names = [with_slashes(row["filename"]) for _, row in rows]
    inside = [file.name for file in path.parent.iterdir() if is_image_name(file)]
    files = sorted({*names, *inside})
    place = {name: position for position, name in enumerate(files)}
    sizes: dict[str, tuple[int, int]] = {}
    for (line, row), name in zip(rows, names, strict=True):
        size = int(_number(path, line, row, "width")), int(_number(path, line, row, "height"))
        if sizes.setdefault(name, size) != size:
            raise DataError(f"{path}, line {line}: {name} has another size than in a line before. Correct one of them.")
    extents = np.array([sizes.get(name) or image_size(path.parent / name) for name in files]).reshape(-1, 2)
    images = np.array([place[name] for name in names], dtype=np.int64)
    boxes = np.array([[_number(path, line, row, corner) for corner in _COLUMNS[4:]] for line, row in rows])
    boxes, keep = settle_boxes(
        boxes.reshape(-1, 4),
        extents[images, 0],
        extents[images, 1],
        invalid=invalid,
        name=lambda i: f"{path}, line {rows[i][0]}",
    )
    labels = np.array([categories.index(row["class"]) for _, row in rows], dtype=np.int64)
    with blame(path):
        return Annotations(
            image_ids=np.arange(1, len(files) + 1),
            file_names=tuple(files),
            widths=extents[:, 0],
            heights=extents[:, 1],
            category_ids=np.arange(1, len(categories) + 1),
            category_names=categories,
            boxes=boxes[keep],
            labels=labels[keep],
            images=images[keep],
            crowd=np.zeros(int(keep.sum()), dtype=bool),
            area=np.prod(boxes[keep, 2:] - boxes[keep, :2], axis=1),
            ids=np.arange(1, len(boxes) + 1)[keep],
            root=path.parent,
        )


def csv_categories(paths: list[Path]) -> tuple[str, ...]:
    """Returns the names of the categories of several tables, sorted."""
    return tuple(sorted({row["class"] for path in paths for _, row in _rows(path)}))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(read_text(path).splitlines())
    absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if absent:
        raise DataError(f"{path}: has no column {absent[0]}. Expected the columns {', '.join(_COLUMNS)}.")
    rows = []
    for row in reader:
        if any(row[name] in (None, "") for name in _COLUMNS):
            raise DataError(f"{path}, line {reader.line_num}: has too few entries. Expected {', '.join(_COLUMNS)}.")
        rows.append((reader.line_num, row))
    return rows


def _number(path: Path, line: int, row: dict[str, str], name: str) -> float:
    try:
        return float(row[name])
    except ValueError:
        raise DataError(f"{path}, line {line}: {name} is {row[name]!r}. Expected a number of pixels.") from None
