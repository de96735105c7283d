"""Reads every set of a folder at once, for what works on whole data sets: converting, dividing, merging.

A folder that can be read in two ways is not guessed at: the caller says which. What mapopt itself has written there is
read with its own ids of categories, which Pascal VOC and YOLO cannot hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout, find_sets, layouts_of
from mapopt.errors import ConfigError, DataError, unknown_name
from mapopt.files import read_record

MANIFEST = "mapopt.json"
"""The file in which mapopt says what it has written into a folder."""
MANIFEST_FORMAT = "mapopt data set"
MANIFEST_VERSION = 1

_MASK = re.compile(rb'"(?:segmentation|keypoints)"\s*:\s*(?:\[\s*[\[\d]|\{)')


def read_sets(data: str | Path, *, layout: Layout = "auto", invalid: Invalid = "error") -> dict[str, Annotations]:
    """Reads all sets of a folder, and decodes no image.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        layout: which kind of folder it is; ``"auto"`` finds out, and refuses a folder that is of two kinds.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Returns:
        Annotations by the names train, val and test, as far as they are there; or only `mapopt.data.layouts.WHOLE`.

    Raises:
        DataError: nothing is recognized, or a set is wrong.
        ConfigError: there is no such layout or policy, or the folder is of several kinds.
    """
    path = Path(data)
    check_layout(path, layout)
    if invalid == "keep":
        raise ConfigError("invalid is 'keep', which is for evaluate --truth only: expected error, clip or drop")
    sets = {name: read() for name, read in find_sets(path, layout, invalid).readers.items()}
    ids = _ids_of(path)
    sets = {name: _with_ids(notes, ids) for name, notes in sets.items()}
    if _has_masks(path):
        first = next(iter(sets))
        sets[first] = sets[first].with_remarks("masks and keypoints are left out: boxes and their areas are kept.")
    return sets


def check_layout(path: Path, layout: Layout) -> None:
    """Raises an error where nothing says which kind of folder is meant.

    Raises:
        DataError: there is nothing at the path.
        ConfigError: there is no such layout, or the folder is of several kinds and the layout is ``"auto"``.
    """
    if layout not in get_args(Layout):
        raise ConfigError(unknown_name("layout", str(layout), get_args(Layout)))
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder. Check the path.")
    kinds = layouts_of(path) if layout == "auto" else []
    if len(kinds) > 1:
        listed = " and as ".join(f"{what} ({kind})" for kind, what in kinds)
        choices = " or ".join(f"--layout {kind}" for kind, _ in kinds if kind in get_args(Layout))
        raise ConfigError(f"{path}: can be read as {listed}. Say which is meant: {choices}.")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Returns what mapopt says that it has written into a folder; None where it says nothing that can be read."""
    if not os.path.isfile(folder / MANIFEST):
        return None
    try:
        return read_record(
            folder / MANIFEST,
            what="what mapopt wrote into a folder",
            version=MANIFEST_VERSION,
            format=MANIFEST_FORMAT,
            error=DataError,
        )
    except DataError:
        return None


def _has_masks(path: Path) -> bool:
    """Returns whether a COCO file of a data set holds masks or keypoints."""
    files = [path] if path.suffix == ".json" else []
    if os.path.isdir(path):
        files = [file for pattern in ("*.json", "annotations/*.json", "*/*.json") for file in path.glob(pattern)]
    return any(_MASK.search(file.read_bytes()) for file in files if os.path.isfile(file))


def _ids_of(path: Path) -> Mapping[str, int]:
    manifest = read_manifest(path if os.path.isdir(path) else path.parent)
    ids = manifest.get("category_ids") if manifest else None
    return ids if isinstance(ids, dict) and all(type(number) is int for number in ids.values()) else {}


def _with_ids(notes: Annotations, ids: Mapping[str, int]) -> Annotations:
    """Returns annotations with the ids that their categories had before; as they are where the names are others."""
    if set(ids) != set(notes.category_names):
        return notes
    return replace(notes, category_ids=np.array([ids[name] for name in notes.category_names]))
