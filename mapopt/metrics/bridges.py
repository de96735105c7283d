"""Columns of boxes from what people already hold: COCO files, pycocotools' objects, torchvision's dictionaries.

`GroundTruth` and `Detections` call this from their classmethods; ids stay as they are in the source. What is wrong is
said with the number of the entry it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.documents import MAX_DATA, parse_json
from mapopt.errors import DataError, shown
from mapopt.paths import read_bytes

Columns = dict[str, Any]
"""Arguments of `GroundTruth` or `Detections` by name."""


def host(values: ArrayLike) -> NDArray:
    """Brings a tensor to the host without importing torch; leaves everything else to numpy."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        tensor = values.detach().cpu()
        # numpy has no bfloat16; float64 holds every value of the smaller kinds.
        return np.asarray(tensor.double() if tensor.is_floating_point() else tensor)
    return np.asarray(values)


def coco_ground_truth(source: Any) -> Columns:
    """Returns the columns of COCO annotations; see `GroundTruth.from_coco`."""
    name, content = _content(source, "COCO annotations")
    expected = "expected COCO annotations, with images, annotations and categories"
    if not isinstance(content, Mapping):
        raise DataError(f"{name}: is of type {type(content).__name__}; {expected}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), Sequence):
            raise DataError(f"{name}: has no list '{key}'; {expected}")
    entries = content["annotations"]
    what = f"{name}: annotation"
    boxes = _corners(entries, what)
    # Of the file's numbers, as pycocotools has it, not of the corners.
    area = [entry["area"] if "area" in entry else entry["bbox"][2] * entry["bbox"][3] for entry in entries]
    return {
        "boxes": boxes,
        "labels": _ids(entries, "category_id", what),
        "image_ids": _ids(entries, "image_id", what),
        "crowd": np.array([_crowd(entry, f"{what} {row}") for row, entry in enumerate(entries)], dtype=bool),
        "area": np.array([_number(value, f"{what} {row} has area") for row, value in enumerate(area)], np.float64),
        "images": _ids(content["images"], "id", f"{name}: image"),
        "categories": _ids(content["categories"], "id", f"{name}: category"),
    }


def coco_detections(source: Any) -> Columns:
    """Returns the columns of COCO results; see `Detections.from_coco`."""
    name, content = _content(source, "COCO results")
    if isinstance(content, Mapping) and hasattr(source, "dataset"):  # what pycocotools' loadRes returns
        content = content.get("annotations")
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        kind = "COCO annotations" if isinstance(content, Mapping) else f"of type {type(content).__name__}"
        raise DataError(
            f"{name}: is {kind}; expected COCO results, a list of objects with image_id, category_id, bbox and score"
        )
    what = f"{name}: result"
    return {
        "boxes": _corners(content, what),
        "scores": np.array(
            [
                _number(_value(entry, "score", f"{what} {row}"), f"{what} {row} has score")
                for row, entry in enumerate(content)
            ],
            dtype=np.float64,
        ),
        "labels": _ids(content, "category_id", what),
        "image_ids": _ids(content, "image_id", what),
    }


def dicts_ground_truth(targets: Any) -> Columns:
    """Returns the columns of torchvision's targets; see `GroundTruth.from_dicts`."""
    parts = _parts(targets, "targets", ("labels",))
    images = _images(targets, "target")
    crowd, area = [], []
    for number, (target, part) in enumerate(zip(targets, parts, strict=True)):
        boxes, count = part["boxes"], len(part["boxes"])
        crowd.append(
            _column(target, "iscrowd", f"target {number}", count) if "iscrowd" in target else np.zeros(count, bool)
        )
        sides = boxes[:, 2:] - boxes[:, :2]
        area.append(
            _column(target, "area", f"target {number}", count) if "area" in target else sides[:, 0] * sides[:, 1]
        )
    return {
        **_joined(parts, images, labels=np.int64),
        "crowd": _concatenated(crowd, bool),
        "area": _concatenated(area, np.float64),
        "images": images,
    }


def dicts_detections(predictions: Any, images: ArrayLike | None) -> Columns:
    """Returns the columns of torchvision's outputs; see `Detections.from_dicts`."""
    parts = _parts(predictions, "predictions", ("labels", "scores"))
    if images is None:
        images = _images(predictions, "prediction")
    ids = host(images)
    if ids.shape != (len(parts),):
        raise DataError(f"images have shape {ids.shape} for {len(parts)} predictions: expected one id for each")
    return _joined(parts, ids, labels=np.int64, scores=np.float64)


def _content(source: Any, what: str) -> tuple[str, Any]:
    """Returns what messages call a source, and what it holds."""
    if isinstance(source, str | Path):
        return str(source), _read_json(source, what)
    return what, getattr(source, "dataset", source)


def _read_json(path: str | Path, what: str) -> Any:
    content = read_bytes(path, what=f"a file of {what}", limit=MAX_DATA, error=DataError)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); expected a file of {what}") from None
    return parse_json(text, str(path), error=DataError)


def _corners(entries: Sequence[Any], what: str) -> NDArray[np.float64]:
    """Returns ``[n, 4]`` corners of boxes x, y, width, height; x + width is rounded once, as in pycocotools."""
    boxes = np.zeros((len(entries), 4))
    for row, entry in enumerate(entries):
        value = _value(entry, "bbox", f"{what} {row}")
        try:
            boxes[row] = host(value)
        except (TypeError, ValueError):
            raise DataError(
                f"{what} {row} has bbox {shown(value)}: expected four numbers x, y, width, height"
            ) from None
    if (boxes[:, 2:] < 0).any():
        row = int(np.flatnonzero((boxes[:, 2:] < 0).any(axis=1))[0])
        raise DataError(f"{what} {row} has bbox {boxes[row].tolist()}: expected a width and a height of at least 0")
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _value(entry: Any, key: str, what: str) -> Any:
    if not isinstance(entry, Mapping):
        raise DataError(f"{what} is of type {type(entry).__name__}: expected a dictionary with '{key}'")
    if key not in entry:
        names = ", ".join(str(name)[:40] for name in list(entry)[:8])
        raise DataError(f"{what} has no '{key}': expected {key} among {names or 'its keys'}")
    return entry[key]


def _ids(entries: Sequence[Any], key: str, what: str) -> NDArray[np.int64]:
    ids = np.zeros(len(entries), np.int64)
    for row, entry in enumerate(entries):
        ids[row] = _whole(_value(entry, key, f"{what} {row}"), f"{what} {row} has {key}")
    return ids


def _whole(value: Any, what: str) -> int:
    number = host(value)
    if number.size != 1 or number.dtype.kind not in "iu":
        raise DataError(f"{what} {shown(value)}: expected a whole number")
    return int(number.reshape(()))


def _crowd(entry: Mapping[str, Any], what: str) -> bool:
    value = entry.get("iscrowd")
    if value is None or isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.number) and value in (0, 1):
        return bool(value)
    raise DataError(f"{what} has iscrowd {value!r}: expected 0, 1, true, false or null")


def _number(value: Any, what: str) -> float:
    number = host(value)
    if number.size != 1 or number.dtype.kind not in "iuf":
        raise DataError(f"{what} {shown(value)}: expected a number")
    return float(number.reshape(()))


def _parts(dictionaries: Any, what: str, keys: tuple[str, ...]) -> list[dict[str, NDArray]]:
    """Returns the boxes and further columns of every image."""
    if isinstance(dictionaries, Mapping) or not isinstance(dictionaries, Sequence):
        raise DataError(
            f"{what} are of type {type(dictionaries).__name__}: expected a list of dictionaries, one for each image"
        )
    parts = []
    for number, entry in enumerate(dictionaries):
        name = f"{what.removesuffix('s')} {number}"
        try:
            boxes = np.array(host(_value(entry, "boxes", name)), dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{name} has boxes that are no numbers of shape (n, 4): expected x1, y1, x2, y2") from None
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DataError(f"{name} has boxes of shape {boxes.shape}: expected (n, 4), corners x1, y1, x2, y2")
        parts.append({"boxes": boxes, **{key: _column(entry, key, name, len(boxes)) for key in keys}})
    return parts


def _column(entry: Any, key: str, what: str, count: int) -> NDArray:
    try:
        column = host(_value(entry, key, what))
    except ValueError:
        raise DataError(f"{what} has {key} of different lengths: expected {count} numbers, one for every box") from None
    if column.size == count == 0:
        return column.reshape(0)
    if column.shape != (count,):
        raise DataError(f"{what} has {key} of shape {column.shape}: expected ({count},), one for every box")
    return column


def _images(dictionaries: Sequence[Mapping[str, Any]], what: str) -> NDArray[np.int64]:
    """Returns the ids of the images, or their positions where no dictionary has one."""
    given = ["image_id" in entry for entry in dictionaries]
    if not any(given):
        return np.arange(len(dictionaries))
    if not all(given):
        raise DataError(f"{what} {given.index(False)} has no 'image_id', but others have: give it to all or to none")
    ids = _ids(dictionaries, "image_id", what)
    known, counts = np.unique(ids, return_counts=True)
    if len(known) < len(ids):
        raise DataError(f"image_id {known[counts > 1][0]} is given twice: expected one {what} for each image")
    return ids


def _joined(parts: list[dict[str, NDArray]], images: NDArray, **types: type) -> Columns:
    """Joins the boxes and further columns of all images, and repeats the image's id for every box."""
    columns: Columns = {"boxes": np.concatenate([np.zeros((0, 4)), *(part["boxes"] for part in parts)])}
    for key, dtype in types.items():
        columns[key] = _concatenated([part[key] for part in parts], dtype)
    columns["image_ids"] = np.repeat(images, [len(part["boxes"]) for part in parts]) if parts else np.zeros(0, np.int64)
    return columns


def _concatenated(columns: list[NDArray], dtype: type) -> NDArray:
    """Joins columns; those without an entry have no type that counts."""
    filled = [column for column in columns if column.size]
    return np.concatenate(filled) if filled else np.zeros(0, dtype)
