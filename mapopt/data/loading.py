"""Finds out what kind of data set a folder is, and reads its train, tune and test sets.

The usual layouts of COCO, Pascal VOC and YOLO are recognised. The validation set becomes the tune set. Where there is
no test set, the validation set is divided into two halves by seed, because a number that was selected on cannot also be
the published one; `Splits.note` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.coco import read_coco
from mapopt.data.images import ImageSet
from mapopt.data.invalid import Invalid
from mapopt.data.splits import Splits, divide
from mapopt.data.voc import read_voc
from mapopt.data.yolo import read_data_yaml, read_yolo
from mapopt.errors import ConfigError, DataError, unknown_name

Layout = Literal["auto", "coco", "voc", "yolo"]
Part = Literal["train", "val", "test"]

_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation", "val"), "test": ("test",)}
_COCO_PATTERNS = ("{}.json", "annotations/{}.json", "annotations/instances_{}*.json", "{}/_annotations.coco.json")
_EXPECTED = (
    "Expected one of: COCO (train.json and val.json beside images/, or annotations/instances_train*.json and "
    "instances_val*.json), Pascal VOC (ImageSets/Main/train.txt and val.txt), YOLO (data.yaml)"
)

_Reader = Callable[[], Annotations]


def load_splits(
    path: str | Path,
    *,
    size: tuple[int, int],
    invalid: Invalid = "error",
    limit: int | None = None,
    seed: int = 0,
    layout: Layout = "auto",
    workers: int = 0,
) -> Splits:
    """Reads the train, tune and test sets of a folder.

    Args:
        path: the folder, or a YOLO ``data.yaml``.
        size: (height, width) that the images are fitted into.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        limit: at most so many images of each set, drawn by `seed`.
        seed: decides which images `limit` takes, and how a validation set is divided.
        layout: which kind of folder it is; ``"auto"`` finds out, in the order COCO, YOLO, VOC.
        workers: threads that decode images.

    Raises:
        DataError: nothing is recognised, or something is missing, wrong or shared between sets.
        ConfigError: `limit` or `layout` is not possible.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}. Expected at least 1 image of each set, or None for all.")
    path = Path(path)
    readers = _find(path, layout, invalid)
    notes = []
    train, val = readers["train"](), readers["val"]()
    if "test" in readers:
        test = readers["test"]()
    else:
        if len(val) < 2:
            raise DataError(f"{path}: has no test set, and one tune image cannot be divided. Add a test set.")
        first, second = divide(len(val), seed=seed)
        val, test = val.select(first), val.select(second)
        notes.append(f"No test set was found: the validation set is divided into two halves by seed {seed}.")
    sets = []
    for number, found in enumerate((train, val, test)):
        if limit is not None and limit < len(found):
            chosen = np.random.default_rng([seed, number]).permutation(len(found))[:limit]
            found = found.select(np.sort(chosen))
        sets.append(ImageSet.read(found, size=size, workers=workers))
    if limit is not None:
        notes.append(f"At most {limit} images of each set are used, drawn by seed {seed}.")
    return Splits(train=sets[0], val=sets[1], test=sets[2], note=" ".join(notes))


def read_part(path: str | Path, part: Part = "train", *, invalid: Invalid = "error") -> Annotations:
    """Reads the annotations of one set of a folder, or of a COCO file, and decodes no image.

    Args:
        path: a folder of a known layout, a YOLO ``data.yaml``, or a COCO ``.json``, which is one set.
        part: which of the folder's sets: ``"train"``, ``"tune"`` (the validation set) or ``"test"``.
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
        raise DataError(f"{path}: has no {_SPLITS[part][0]} set. Name one that is there: {', '.join(readers)}.")
    return readers[part]()


def _find(path: Path, layout: Layout, invalid: Invalid) -> dict[str, _Reader]:
    """Returns what reads each set that is there; sets to train and to tune on must be."""
    readers = _recognize(path, layout, invalid)
    for name in ("train", "val"):
        if name not in readers:
            raise DataError(f"{path}: has no {_SPLITS[name][0]} set. {_EXPECTED}.")
    return readers


def _recognize(path: Path, layout: Layout, invalid: Invalid) -> dict[str, _Reader]:
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


def _find_coco(path: Path, invalid: Invalid) -> dict[str, _Reader]:
    readers: dict[str, _Reader] = {}
    if not path.is_dir():
        return readers
    for split, names in _SPLITS.items():
        for pattern in (pattern.format(name) for name in names for pattern in _COCO_PATTERNS):
            found = sorted(path.glob(pattern))
            if len(found) > 1:
                listed = ", ".join(file.name for file in found)
                raise DataError(f"{path}: has several {split} sets ({listed}). Keep one of them in the folder.")
            if found:
                readers[split] = lambda file=found[0]: read_coco(file, invalid=invalid)  # type: ignore[misc]
                break
    return readers


def _find_yolo(path: Path, invalid: Invalid) -> dict[str, _Reader]:
    if path.is_dir():
        path = next((path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).exists()), path)
    if path.suffix not in (".yaml", ".yml"):
        return {}
    data = read_data_yaml(path)
    entries = {split: next((n for n in names if data.get(n)), None) for split, names in _SPLITS.items()}
    return {
        split: lambda entry=entry: read_yolo(path, entry, invalid=invalid)  # type: ignore[misc]
        for split, entry in entries.items()
        if entry is not None
    }


def _find_voc(path: Path, invalid: Invalid) -> dict[str, _Reader]:
    lists = path / "ImageSets" / "Main"
    entries = {
        split: next((n for n in names if (lists / f"{n}.txt").exists()), None) for split, names in _SPLITS.items()
    }
    return {
        split: lambda entry=entry: read_voc(path, entry, invalid=invalid)  # type: ignore[misc]
        for split, entry in entries.items()
        if entry is not None
    }
