"""Reads FiftyOne's own exports of detections: images in ``data/``, and ``labels.json`` with their boxes as fractions.

Its COCO exports have a ``labels.json``, too, so what a file holds decides which it is. Images are named by their paths
in ``data/`` without their endings, or with them; a label is the name of a class, or its position in the file's list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.files import blame, read_json
from mapopt.data.image_files import image_size, is_image_name
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.data.paths import remark_on_missing
from mapopt.errors import DataError, shown

FILE = "labels.json"
"""What FiftyOne calls the file."""

_IMAGES = "data"
_DECIMALS = 6
"""Of a pixel: what fractions in a file do not say."""


def is_fiftyone(path: Path) -> bool:
    """Says whether a file is a FiftyOne export of detections: lists of boxes by the names of the images."""
    if path.name != FILE or not os.path.isfile(path):
        return False
    status = path.stat()
    return _is_export(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _is_export(path: Path, modified: int, size: int) -> bool:
    """Says so of a file as it is now; it may be large, and is asked about again and again."""
    try:
        data = read_json(path)
    except DataError:
        return False
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, dict):
        return False
    first = next((entry for entries in labels.values() if isinstance(entries, list) for entry in entries), None)
    return isinstance(first, dict) and "bounding_box" in first


def fiftyone_categories(paths: Sequence[Path]) -> tuple[str, ...]:
    """Returns the names of the categories of several exports: in their files' order, what only one has at the end."""
    names: dict[str, None] = {}
    for path in paths:
        data = read_json(path)
        listed = _classes(data, path)
        with blame(path):
            used = {_label(entry, listed, name) for name, entry in _entries(data)}
        names |= dict.fromkeys([*listed, *sorted(used - set(listed))])
    return tuple(names)


def read_fiftyone(path: Path, categories: Sequence[str], *, invalid: Invalid = "error") -> Annotations:
    """Reads one export.

    Args:
        path: ``labels.json``; the images are in ``data`` beside it.
        categories: the names of all sets' categories, see `fiftyone_categories`.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: the file or an image is missing or wrong; the message names the image.
    """
    data, root = read_json(path), path.parent / _IMAGES
    if not os.path.isdir(root):
        raise DataError(f"{root}: no such folder. Expected the images of {path} there, as FiftyOne exports them.")
    files = sorted(file for file in root.rglob("*") if is_image_name(file))
    if not files:
        raise DataError(f"{root}: holds no image. Check the folder.")
    names = [PurePosixPath(os.path.relpath(file, root)).as_posix() for file in files]
    places = _places(names)
    listed = _classes(data, path)
    sizes = np.array([image_size(file) for file in files], dtype=np.int64).reshape(-1, 2)
    rows, labels, images, where = list[list[float]](), list[int](), list[int](), list[str]()
    with blame(path):
        strays = [name for name in data["labels"] if name not in places]
        for name, entry in _entries(data):
            if name in places:
                rows.append(_fractions(entry, name))
                labels.append(categories.index(_label(entry, listed, name)))
                images.append(places[name])
                where.append(name)
        if not rows and strays:
            raise DataError(f"names {len(strays)} images, such as '{strays[0]}', and none of them is in {root}.")
        owner = np.array(images, dtype=np.int64)
        extents = np.concatenate([sizes, sizes], axis=1)[owner]
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes, keep = settle_boxes(
            np.round(boxes * extents, _DECIMALS),
            extents[:, 0],
            extents[:, 1],
            invalid=invalid,
            name=lambda i: f"a box of image '{where[i]}'",
            form="relative",
        )
        listed_images = {places[name] for name in data["labels"] if name in places}
        bare = [name for position, name in enumerate(names) if position not in listed_images]
        return Annotations(
            image_ids=np.arange(1, len(files) + 1),
            file_names=tuple(names),
            widths=sizes[:, 0],
            heights=sizes[:, 1],
            category_ids=np.arange(1, len(categories) + 1),
            category_names=tuple(categories),
            boxes=boxes[keep],
            labels=np.array(labels, dtype=np.int64)[keep],
            images=owner[keep],
            crowd=np.zeros(int(keep.sum()), dtype=bool),
            area=np.prod(boxes[keep, 2:] - boxes[keep, :2], axis=1),
            ids=np.arange(1, len(boxes) + 1)[keep],
            root=root,
        ).with_remarks(
            remark_on_missing(len(bare), "image", Path(bare[0]) if bare else Path(), "no entry and counts as empty"),
            remark_on_missing(
                len(strays), "entry", Path(strays[0]) if strays else Path(), "no image", plural="entries"
            ),
        )


def _places(names: Sequence[str]) -> dict[str, int]:
    """Returns the position of every image by its path, and by its path without the ending where that is one image's."""
    places = {name: position for position, name in enumerate(names)}
    short: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        short.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(position)
    return {name: positions[0] for name, positions in short.items() if len(positions) == 1} | places


def _classes(data: Any, path: Path) -> list[str]:
    listed = data.get("classes") if isinstance(data, dict) else None
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise DataError(f"{path}: 'classes' is {shown(listed)}. Expected the names of the classes.")
    return listed


def _entries(data: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns every box with the name of its image; unlabeled images have null in place of a list."""
    entries = []
    for name, given in data["labels"].items():
        if given is not None and not (isinstance(given, list) and all(isinstance(entry, dict) for entry in given)):
            raise DataError(f"image '{name}': {shown(given)}. Expected a list of boxes, or null.")
        entries += [(name, entry) for entry in given or []]
    return entries


def _label(entry: dict[str, Any], listed: Sequence[str], name: str) -> str:
    label = entry.get("label")
    if isinstance(label, str) and label:
        return label
    if type(label) is not int or not 0 <= label < len(listed):
        raise DataError(
            f"image '{name}': 'label' is {shown(label)}. Expected the name of a class, or a position in 'classes', "
            f"which has {len(listed)}."
        )
    return listed[label]


def _fractions(entry: dict[str, Any], name: str) -> list[float]:
    box = entry.get("bounding_box")
    if not isinstance(box, list) or len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise DataError(f"image '{name}': 'bounding_box' is {shown(box)}. Expected left, top, width and height.")
    return [float(number) for number in box]
