"""Finds out what kind of data set a folder is, and what reads each of its sets; decodes no image.

The common layouts of COCO, Pascal VOC and YOLO are recognized.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from mapopt.data.annotations import Annotations
from mapopt.data.coco import read_coco
from mapopt.data.invalid import Invalid
from mapopt.data.voc import read_voc
from mapopt.data.yolo import read_data_yaml, read_yolo
from mapopt.errors import ConfigError, DataError, unknown_name

Layout = Literal["auto", "coco", "voc", "yolo"]
"""Which kind of folder it is; "auto" finds out."""
Part = Literal["train", "val", "test"]
"""One of the sets of a folder."""

_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_COCO_PATTERNS = ("{}.json", "annotations/{}.json", "annotations/instances_{}*.json", "{}/_annotations.coco.json")
_EXPECTED = (
    "Expected one of: COCO (train.json and val.json beside images/, or annotations/instances_train*.json and "
    "instances_val*.json), Pascal VOC (ImageSets/Main/train.txt and val.txt), YOLO (data.yaml)"
)

Reader = Callable[[], Annotations]
"""Reads the annotations of one set when it is called."""


def read_part(path: str | Path, part: Part = "train", *, invalid: Invalid = "error") -> Annotations:
    """Reads the annotations of one set of a folder, or of a COCO file, and decodes no image.

    Args:
        path: a folder of a known layout, a YOLO ``data.yaml``, or a COCO ``.json``, which is one set.
        part: which of the folder's sets: ``"train"``, ``"val"`` or ``"test"``.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: nothing is recognised, or the set is missing or wrong.
        ConfigError: there is no such part or policy, or a part of a single file is asked for.
    """
    path = Path(path)
    if part not in get_args(Part):
        raise ConfigError(unknown_name("set of a folder", str(part), get_args(Part)))
    if path.suffix == ".json":
        if part != "train":
            raise ConfigError(
                f"{path}: is one set, and its {part} part is asked for. Name the file of that set instead."
            )
        return read_coco(path, invalid=invalid)
    readers = _recognize(path, "auto", invalid)
    if part not in readers:
        raise DataError(f"{path}: has no {part} set. Name one that is there: {', '.join(readers)}.")
    return readers[part]()


def find_sets(path: Path, layout: Layout, invalid: Invalid) -> dict[str, Reader]:
    """Returns what reads each set that is there; train and val must be."""
    readers = _recognize(path, layout, invalid)
    for name in ("train", "val"):
        if name not in readers:
            raise DataError(f"{path}: has no {name} set. {_EXPECTED}.")
    return readers


def _recognize(path: Path, layout: Layout, invalid: Invalid) -> dict[str, Reader]:
    """Returns what reads each set that is there, at least one."""
    if layout not in get_args(Layout):
        raise ConfigError(unknown_name("layout", str(layout), get_args(Layout)))
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Check the path.")
    finders = {"coco": _find_coco, "yolo": _find_yolo, "voc": _find_voc}
    for name, finder in finders.items():
        if layout in ("auto", name):
            readers = finder(path, invalid)
            if readers:
                break
    else:
        readers = {}
    if not readers:
        there = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) if path.is_dir() else "a file"
        raise DataError(f"{path}: is no data set of a known layout (there is: {there or 'nothing'}). {_EXPECTED}.")
    return readers


def _find_coco(path: Path, invalid: Invalid) -> dict[str, Reader]:
    readers: dict[str, Reader] = {}
    if not path.is_dir():
        return readers
    for split, names in _NAMES.items():
        for pattern in (pattern.format(name) for name in names for pattern in _COCO_PATTERNS):
            files = sorted(path.glob(pattern))
            if len(files) > 1:
                listed = ", ".join(file.name for file in files)
                raise DataError(f"{path}: has several {split} sets ({listed}). Keep one of them in the folder.")
            if files:
                readers[split] = lambda file=files[0]: read_coco(file, invalid=invalid)  # type: ignore[misc]
                break
    return readers


def _find_yolo(path: Path, invalid: Invalid) -> dict[str, Reader]:
    if path.is_dir():
        path = next((path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).exists()), path)
    if path.suffix not in (".yaml", ".yml"):
        return {}
    data = read_data_yaml(path)
    entries = {split: next((n for n in names if data.get(n)), None) for split, names in _NAMES.items()}
    return {
        split: lambda entry=entry: read_yolo(path, entry, invalid=invalid)  # type: ignore[misc]
        for split, entry in entries.items()
        if entry is not None
    }


def _find_voc(path: Path, invalid: Invalid) -> dict[str, Reader]:
    lists = path / "ImageSets" / "Main"
    entries = {
        split: next((n for n in names if (lists / f"{n}.txt").exists()), None) for split, names in _NAMES.items()
    }
    return {
        split: lambda entry=entry: read_voc(path, entry, invalid=invalid)  # type: ignore[misc]
        for split, entry in entries.items()
        if entry is not None
    }
