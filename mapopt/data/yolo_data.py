"""Reads what a YOLO folder says about itself: names, splits and keypoints, in ``data.yaml`` or darknet's ``obj.data``.

Names are texts as they are written: YAML would take ``yes`` for a truth value, ``007`` and ``1.10`` for numbers, and
``12:30`` for 750. The entries of the splits are texts, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapopt.data.files import read_text
from mapopt.data.paths import SPLIT_NAMES, find_path
from mapopt.documents import parse_yaml
from mapopt.errors import DataError, shown

_TEXTS = ("names", "path", *(name for names in SPLIT_NAMES.values() for name in names))
"""Keys under which nothing is typed."""


@dataclass(frozen=True)
class YoloData:
    """What the file of a YOLO folder says.

    Attributes:
        path: the file, or the folder where there is none.
        names: the categories' names by their numbers, in rising order.
        entries: what each split names: a folder, a list of images, or several of these.
        bases: folders that entries may be relative to, in the order they are tried.
        keypoints: how many keypoints a row has, and of how many numbers; None where rows are boxes or polygons.
        other: everything else.
    """

    path: Path
    names: dict[int, str]
    entries: dict[str, Any]
    bases: tuple[Path, ...]
    keypoints: tuple[int, int] | None = None
    other: dict[str, Any] = field(default_factory=dict)


def read_yolo_file(path: Path) -> YoloData:
    """Returns what a ``data.yaml`` or an ``obj.data`` says.

    Raises:
        DataError: it cannot be read, or has no names.
    """
    data = _read_darknet(path) if path.suffix == ".data" else _read_yaml(path)
    if not isinstance(data, dict) or "names" not in data:
        raise DataError(f"{path}: has no 'names'. Expected a YOLO data.yaml with names, train and val.")
    names = _names(path, data)
    splits = {key: data[key] for key in _TEXTS[2:] if data.get(key)}
    # Published files name their folder as it was on another machine, or one level too high: try the file's own too.
    bases = (path.parent / str(data.get("path") or ""), path.parent)
    other = {key: value for key, value in data.items() if key != "names" and key not in splits}
    return YoloData(path, names, splits, bases, _keypoints(path, data), other)


def _read_yaml(path: Path) -> Any:
    text = read_text(path)
    texts = parse_yaml(text, str(path), error=DataError, texts=True)
    if not isinstance(texts, dict):
        return None
    try:
        typed = parse_yaml(text, str(path), error=DataError)
    except DataError:
        # A name may look like a date or a number that there is not.
        typed = texts
    return {**typed, **{key: _clean(value) for key, value in texts.items() if key in _TEXTS}}


def _clean(value: Any) -> Any:
    """Returns None for what is left empty."""
    return None if value in ("", "~", "null") else value


def _read_darknet(path: Path) -> dict[str, Any]:
    """Returns what an ``obj.data`` says, as exports for darknet have it: lines of ``key = value``."""
    pairs = (line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
    data: dict[str, Any] = {key.strip(): value.strip() for key, value in pairs}
    if "names" in data:
        place = find_path(data["names"], [path.parent])
        if place is None:
            raise DataError(f"{path}: 'names' names {data['names']}, which does not exist. Correct the entry.")
        data["names"] = read_names(place)
    if str(data.get("classes", "")).isdecimal():
        data["nc"] = int(data["classes"])
    return data


def read_names(path: Path) -> list[str]:
    """Returns the names in a file that has one on each line."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _names(path: Path, data: dict[str, Any]) -> dict[int, str]:
    names = data["names"]
    pairs = {str(number): name for number, name in enumerate(names)} if isinstance(names, list) else names
    if (
        not isinstance(pairs, dict)
        or not pairs
        or not all(re.fullmatch(r"-?\d{1,9}", key) for key in pairs)
        or not all(isinstance(name, str) and name for name in pairs.values())
    ):
        raise DataError(f"{path}: 'names' is {shown(names)}. Expected a list of names, or class numbers with names.")
    if "nc" in data and data["nc"] != len(pairs):
        raise DataError(f"{path}: 'nc' is {data['nc']}, but there are {len(pairs)} names. Correct one of them.")
    return dict(sorted((int(number), name) for number, name in pairs.items()))


def _keypoints(path: Path, data: dict[str, Any]) -> tuple[int, int] | None:
    shape = data.get("kpt_shape")
    if shape is None:
        return None
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(number) is int for number in shape)
        and shape[0] > 0
        and shape[1] in (2, 3)
    ):
        raise DataError(
            f"{path}: 'kpt_shape' is {shown(shape)}. Expected the number of keypoints, and 2 or 3 numbers for each."
        )
    return shape[0], shape[1]
