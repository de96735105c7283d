"""Reads and writes COCO files: one JSON file for a set of images.

Category ids may be anything (0-based, with gaps); objects get positions, and writing gives the same ids back. Boxes of
the file are (left, top, width, height): the writer looks for the shortest decimal width that gives back the same right
corner, so that a file that was read and written again says the same. Masks are not kept; their area is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.files import blame, read_json
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.data.masks import with_boxes
from mapopt.data.paths import find_names
from mapopt.errors import DataError, shown
from mapopt.files import write_text

_SAME_CORNER = 1e-9
"""Pixels by which an exact corner may differ from what the box says; beyond, the box was edited and counts."""

_IMAGE_KEYS = ("id", "file_name", "width", "height")


def read_coco(
    json_path: str | Path, images_dir: str | Path | None = None, *, invalid: Invalid = "error"
) -> Annotations:
    """Reads a COCO annotation file.

    Args:
        json_path: the file, with ``images``, ``annotations`` and ``categories``. ``iscrowd`` (0) and ``area`` (the
            box's) may be missing, and ``bbox`` where there is a mask to take it from: polygons, or runs (RLE).
        images_dir: the folder of the images. Where it is None, the common places beside the file are tried.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: the file is missing or wrong; the message names the annotation or the image.
    """
    path = Path(json_path)
    data = read_json(path)
    with blame(path):
        images, objects, categories = (section(data, key) for key in ("images", "annotations", "categories"))
        image_ids = _integers(images, "id", "image")
        categories, left_out = without_root(categories, objects)
        category_ids = _integers(categories, "id", "category")
        file_names = _texts(images, "file_name", "image")
        widths, heights = (_integers(images, key, "image") for key in ("width", "height"))
        ids = _integers(objects, "id", "annotation")
        names = [f"annotation {number}" for number in ids]
        positions = _positions(_integers(objects, "image_id", "annotation"), image_ids, names, "image")
        labels = _positions(_integers(objects, "category_id", "annotation"), category_ids, names, "category")
        extents = np.stack([widths, heights], axis=1)
        objects, completed = with_boxes(objects, names, extents[positions])
        xywh = _boxes(objects, names)
        boxes = _corners(objects, xywh)
        crowd = np.array([_flag(entry, name) for entry, name in zip(objects, names, strict=True)], dtype=bool)
        root = images_folder(path, images_dir, file_names)
        settled, keep = settle_boxes(
            boxes,
            widths[positions],
            heights[positions],
            invalid=invalid,
            name=lambda i: f"{names[i]} (image '{file_names[positions[i]]}')",
            form="sizes",
        )
        area = _areas(objects, xywh[:, 2] * xywh[:, 3], names)
        cut = (settled != boxes).any(axis=1)
        area = np.where(cut, np.minimum(area, np.prod(settled[:, 2:] - settled[:, :2], axis=1)), area)
        return Annotations(
            image_ids=image_ids,
            file_names=tuple(find_names(file_names, root)),
            widths=widths,
            heights=heights,
            category_ids=category_ids,
            category_names=tuple(_texts(categories, "name", "category")),
            boxes=settled[keep],
            labels=labels[keep],
            images=positions[keep],
            crowd=crowd[keep],
            area=area[keep],
            ids=ids[keep],
            root=root,
        ).with_remarks(left_out, completed)


def write_coco(annotations: Annotations, json_path: str | Path) -> None:
    """Writes a COCO annotation file, in one step.

    Reading it gives equal annotations, to the last bit. Where no width or height can say a corner exactly, the
    annotation also has ``corners``, which other readers pass over.

    Raises:
        StoreError: the file cannot be written.
    """
    boxes = annotations.boxes
    extent = _extent(boxes[:, :2], boxes[:, 2:])
    xywh = np.concatenate([boxes[:, :2], extent], axis=1).tolist()
    image_columns = (annotations.image_ids, annotations.file_names, annotations.widths, annotations.heights)
    columns: list[Sequence[Any]] = [
        column.tolist() if isinstance(column, np.ndarray) else column for column in image_columns
    ]
    image_ids, category_ids = annotations.image_ids.tolist(), annotations.category_ids.tolist()
    data: dict[str, list[dict[str, Any]]] = {
        "images": [dict(zip(_IMAGE_KEYS, row, strict=True)) for row in zip(*columns, strict=True)],
        "annotations": [
            {
                "id": number,
                "image_id": image_ids[image],
                "category_id": category_ids[label],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, image, label, box, area, crowd in zip(
                annotations.ids.tolist(),
                annotations.images.tolist(),
                annotations.labels.tolist(),
                xywh,
                annotations.area.tolist(),
                annotations.crowd.tolist(),
                strict=True,
            )
        ],
        "categories": [
            {"id": number, "name": name} for number, name in zip(category_ids, annotations.category_names, strict=True)
        ],
    }
    for index in np.flatnonzero((boxes[:, :2] + extent != boxes[:, 2:]).any(axis=1)).tolist():
        data["annotations"][index]["corners"] = boxes[index].tolist()
    write_text(json_path, json.dumps(data, ensure_ascii=False))


def _extent(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the shortest decimal numbers that, added to `low` in float64, give `high`, to the last bit if possible.

    It is not where both neighbours of the difference are rounded away from `high`, as ties are to even.
    """
    exact = high - low
    extent = exact.copy()
    open_ = np.ones(exact.shape, dtype=bool)
    for digits in range(13):
        candidate = np.round(exact, digits)
        hit = open_ & (low + candidate == high)
        extent[hit] = candidate[hit]
        open_ &= ~hit
    for candidate in (exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)):
        hit = open_ & (low + candidate == high)
        extent[hit] = candidate[hit]
        open_ &= ~hit
    return extent


def images_folder(path: Path, images_dir: str | Path | None, file_names: Sequence[str]) -> Path:
    """Returns the folder given, or the common place that holds most of the first few images."""
    if images_dir is not None:
        if not os.path.isdir(Path(images_dir)):
            raise DataError(f"the folder of its images, {images_dir}, does not exist. Check images_dir.")
        return Path(images_dir)
    stem = path.stem.removeprefix("instances_")
    places = [
        base / name
        for base in (path.parent, path.parent.parent)
        for name in ("images", f"images/{stem}", stem, "", "data")
    ]
    hits = [sum(os.path.isfile(place / name) for name in find_names(file_names[:8], place)) for place in places]
    return places[int(np.argmax(hits))]


def section(data: Any, key: str) -> list[dict[str, Any]]:
    """Returns a list of a COCO file: ``images``, ``annotations`` or ``categories``.

    Raises:
        DataError: there is none, or something in it is no object in braces.
    """
    if isinstance(data, list):
        raise DataError("is a list, as files of results are. Expected an annotation file with images and categories.")
    if not isinstance(data, dict) or not isinstance(data.get(key), list):
        raise DataError(f"has no list '{key}'. Expected a COCO file with images, annotations and categories.")
    for number, entry in enumerate(data[key]):
        if not isinstance(entry, dict):
            raise DataError(f"entry {number} of '{key}' is not an object in braces. Correct the file.")
    return data[key]


def _column(entries: list[dict[str, Any]], key: str, kind: str) -> list[Any]:
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        number = next(i for i, entry in enumerate(entries) if key not in entry)
        which = f"{kind} {entries[number]['id']}" if "id" in entries[number] else f"entry {number} of the {kind} list"
        raise DataError(f"{which} has no '{key}'. Add it.") from None


def _checked(
    values: list[Any], entries: list[dict[str, Any]], key: str, kind: str, *, good: Callable[[Any], bool], expected: str
) -> list[Any]:
    """Returns the values where all are good, else names the first that is not."""
    for number, value in enumerate(values):
        if not good(value):
            which = (
                f"entry {number} of the {kind} list" if key == "id" else f"{kind} {entries[number].get('id', number)}"
            )
            raise DataError(f"{which}: '{key}' is {value!r}. Expected {expected}.")
    return values


def _integers(entries: list[dict[str, Any]], key: str, kind: str) -> NDArray[np.int64]:
    def whole(value: Any) -> bool:
        # Some writers say 640.0 for 640.
        return (type(value) is int or (type(value) is float and value.is_integer())) and abs(value) < 2**63

    values = _checked(_column(entries, key, kind), entries, key, kind, good=whole, expected="an integer")
    return np.array([int(value) for value in values], dtype=np.int64)


def _texts(entries: list[dict[str, Any]], key: str, kind: str) -> list[str]:
    return _checked(
        _column(entries, key, kind),
        entries,
        key,
        kind,
        good=lambda v: isinstance(v, str) and v != "",
        expected="a text",
    )


def _boxes(entries: list[dict[str, Any]], names: list[str]) -> NDArray[np.float64]:
    """Returns the boxes, and NaN where one is missing."""
    values = []
    for entry, name in zip(entries, names, strict=True):
        value = entry.get("bbox")
        if value is None or value == []:
            value = [float("nan")] * 4
        elif not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
            raise DataError(f"{name}: 'bbox' is {shown(value)}. Expected four numbers: left, top, width, height.")
        values.append(value)
    return np.array(values, dtype=np.float64).reshape(-1, 4)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _flag(entry: dict[str, Any], name: str) -> bool:
    """Returns what ``iscrowd`` says."""
    value = entry.get("iscrowd")
    if value is None:
        return False
    if type(value) not in (bool, int, float) or value not in (0, 1):
        raise DataError(f"{name}: 'iscrowd' is {shown(value)}. Expected 0 or 1.")
    return bool(value)


def without_root(categories: list[dict[str, Any]], objects: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Returns the categories without the one that Roboflow puts above all others, and a remark on it."""
    if len(categories) < 2:
        return categories, ""
    for root in categories:
        below = [entry.get("supercategory") == root.get("name") for entry in categories if entry is not root]
        used = any(entry.get("category_id") == root.get("id") for entry in objects)
        if all(below) and root.get("supercategory") in (None, "", "none") and not used:
            others = [entry for entry in categories if entry is not root]
            return others, f"The category '{root.get('name')}' was left out: it only holds the others together."
    return categories, ""


def _corners(entries: list[dict[str, Any]], xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the boxes' corners, from ``corners`` where an annotation has them and they say the same."""
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    for index, entry in enumerate(entries):
        exact = entry.get("corners")
        if isinstance(exact, list) and len(exact) == 4 and all(type(number) is float for number in exact):
            boxes[index] = np.where(np.abs(boxes[index] - exact) < _SAME_CORNER, exact, boxes[index])
    return boxes


def _areas(entries: list[dict[str, Any]], default: NDArray[np.float64], names: list[str]) -> NDArray[np.float64]:
    areas = default.copy()
    for number, entry in enumerate(entries):
        value = entry.get("area")
        if value is None:
            continue
        if not _is_number(value):
            raise DataError(f"{names[number]}: 'area' is {shown(value)}. Expected a number of square pixels.")
        areas[number] = value
    return areas


def _positions(given: NDArray[np.int64], known: NDArray[np.int64], names: list[str], kind: str) -> NDArray[np.int64]:
    """Returns the position of each given id among the known ones."""
    place = {number: position for position, number in enumerate(known.tolist())}
    positions = np.array([place.get(number, -1) for number in given.tolist()], dtype=np.int64)
    stray = np.flatnonzero(positions < 0)
    if len(stray):
        first = int(stray[0])
        raise DataError(
            f"{names[first]}: {kind} id {given[first]} is not in the file's list of {kind} ids ({len(known)} of them). "
            f"Add the {kind} or remove the annotation."
        )
    return positions
