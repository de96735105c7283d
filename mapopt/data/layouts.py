"""Finds out what kind of data set a folder is, and what reads each of its sets; decodes no image.

The common layouts of COCO, Pascal VOC and YOLO are recognized, those that tools for annotations export, too. Many
exports are one set without splits, which is called `WHOLE` here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from mapopt.data.annotations import Annotations
from mapopt.data.coco import read_coco
from mapopt.data.csv_file import csv_categories, read_csv
from mapopt.data.fiftyone import FILE, fiftyone_categories, is_fiftyone, read_fiftyone
from mapopt.data.files import read_json, read_text
from mapopt.data.invalid import Invalid
from mapopt.data.paths import SPLIT_NAMES
from mapopt.data.vistas import find_vistas, read_vistas
from mapopt.data.voc import VocSheets, read_voc, read_voc_folder
from mapopt.data.yolo import read_yolo_data
from mapopt.data.yolo_data import YoloData, read_names, read_yolo_file
from mapopt.documents import parse_yaml
from mapopt.errors import ConfigError, DataError, unknown_name

Layout = Literal["auto", "coco", "voc", "yolo"]
"""Which kind of folder it is; "auto" finds out."""
Part = Literal["train", "val", "test"]
"""One of the sets of a folder."""

WHOLE = "whole"
"""The name of a set that nothing divides into splits."""

_COCO_PATTERNS = (
    "{}.json",
    "annotations/{}.json",
    "annotations/instances_{}*.json",
    "{}/_annotations.coco.json",
    "{}/labels.json",
)
_EXPECTED = (
    "Expected one of: COCO (train.json and val.json beside images/, or annotations/instances_train*.json and "
    "instances_val*.json), Pascal VOC (ImageSets/Main/train.txt and val.txt), YOLO (data.yaml), Mapillary Vistas "
    "(config_v2.0.json beside training/v2.0/instances/)"
)
_VOC_FOLDERS = (("Annotations", "JPEGImages"), ("Annotations", "images"), ("annotations", "images"), ("labels", "data"))
"""Folders of XML files and of their images."""
_YOLO_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
_LARGEST_YAML = 1_000_000
"""Bytes of a file that may say what a YOLO folder holds."""

Reader = Callable[[], Annotations]
"""Reads the annotations of one set when it is called."""


@dataclass(frozen=True)
class FolderSets:
    """What a folder holds.

    Attributes:
        what: what was recognized, for messages.
        readers: what reads each set that is there, at least one: train, val and test, or `WHOLE`.
    """

    what: str
    readers: dict[str, Reader]

    @property
    def single(self) -> Reader | None:
        """What reads the only set; None where there are several."""
        names = list(self.readers)
        return self.readers[names[0]] if names in ([WHOLE], ["train"]) else None


def read_part(path: str | Path, part: Part = "train", *, invalid: Invalid = "error") -> Annotations:
    """Reads the annotations of one set of a folder, or of a COCO file, and decodes no image.

    Args:
        path: a folder of a known layout, a YOLO ``data.yaml``, or a COCO ``.json``, which is one set.
        part: which of the folder's sets: ``"train"``, ``"val"`` or ``"test"``. What is one set is its train part.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: nothing is recognized, or the set is missing or wrong.
        ConfigError: there is no such part or policy, or a part of a single set is asked for.
    """
    path = Path(path)
    if part not in get_args(Part):
        raise ConfigError(unknown_name("set of a folder", str(part), get_args(Part)))
    if path.suffix == ".json":
        if part != "train":
            raise ConfigError(
                f"{path}: is one set, and its {part} part is asked for. Name the file of that set instead."
            )
        return (
            find_sets(path, "auto", invalid).readers[WHOLE]() if is_fiftyone(path) else read_coco(path, invalid=invalid)
        )
    readers = find_sets(path, "auto", invalid).readers
    if part == "train" and WHOLE in readers:
        return readers[WHOLE]()
    if part not in readers:
        raise DataError(f"{path}: has no {part} set. Name one that is there: {', '.join(readers)}.")
    return readers[part]()


def find_sets(path: Path, layout: Layout, invalid: Invalid) -> FolderSets:
    """Returns what reads each set that is there, at least one.

    Raises:
        DataError: nothing is recognized.
        ConfigError: there is no such layout.
    """
    if layout not in get_args(Layout):
        raise ConfigError(unknown_name("layout", str(layout), get_args(Layout)))
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder. Check the path.")
    single = None
    for name, find in _finders().items():
        for sets in find(path, invalid) if layout in ("auto", name) else ():
            if sets.single is None:
                return sets
            # What is divided into splits counts before what is one set.
            single = single or sets
    if single is None:
        there = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) if os.path.isdir(path) else "a file"
        raise DataError(f"{path}: is no data set of a known layout (there is: {there or 'nothing'}). {_EXPECTED}.")
    return single


def layouts_of(path: Path) -> list[tuple[str, str]]:
    """Returns every kind of folder that a path can be read as, with what was recognized."""
    kinds = []
    for name, find in _finders().items():
        try:
            kinds += [(name, sets.what) for sets in find(path, "error")][:1]
        except DataError:
            # What is wrong with it is said when it is read.
            kinds.append((name, name))
    return kinds


def _finders() -> dict[str, Callable[[Path, Invalid], Iterator[FolderSets]]]:
    """Returns what recognizes each layout, in the order in which they are tried."""
    return {
        "coco": _coco_sets,
        "yolo": _yolo_sets,
        "voc": _voc_sets,
        "csv": _csv_sets,
        "fiftyone": _fiftyone_sets,
        "vistas": _vistas_sets,
    }


def find_splits(path: Path, layout: Layout, invalid: Invalid) -> dict[str, Reader]:
    """Returns what reads each set that is there; train and val must be.

    Raises:
        DataError: they are not there, or nothing is recognized.
        ConfigError: there is no such layout.
    """
    sets = find_sets(path, layout, invalid)
    if WHOLE in sets.readers:
        raise DataError(
            f"{path}: is one set ({sets.what}) that no list such as ImageSets/Main/train.txt or file divides into "
            "train and val sets. Divide it by seed: --split 0.7 0.15 0.15 for train, val and test "
            "(split=(0.7, 0.15, 0.15) in Python)."
        )
    for name in ("train", "val"):
        if name not in sets.readers:
            advice = " Or divide the train set by seed: --split 0.7 0.15 0.15." if sets.single else ""
            raise DataError(f"{path}: has no {name} set. {_EXPECTED}.{advice}")
    return sets.readers


def find_whole(path: Path, layout: Layout, invalid: Invalid) -> Annotations:
    """Reads what is one set, to be divided.

    Raises:
        ConfigError: there are several sets already.
        DataError: nothing is recognized, or the set is wrong.
    """
    sets = find_sets(path, layout, invalid)
    if sets.single is None:
        raise ConfigError(
            f"--split is given, but {path} has sets of its own ({', '.join(sets.readers)}): leave it out, or give the "
            "file of a single set"
        )
    return sets.single()


def _coco_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    def reader(file: Path) -> Reader:
        return partial(read_coco, file, invalid=invalid)

    if path.suffix == ".json" and not is_fiftyone(path):
        yield FolderSets(f"the COCO file {path.name}", {WHOLE: reader(path)})
    if not os.path.isdir(path):
        return
    readers: dict[str, Reader] = {}
    for split, names in SPLIT_NAMES.items():
        for pattern in (pattern.format(name) for name in names for pattern in _COCO_PATTERNS):
            files = [file for file in sorted(path.glob(pattern)) if not is_fiftyone(file)]
            if len(files) > 1:
                listed = ", ".join(file.name for file in files)
                raise DataError(f"{path}: has several {split} sets ({listed}). Keep one of them in the folder.")
            if files:
                readers[split] = reader(files[0])
                break
    if readers:
        yield FolderSets("COCO files", readers)
        return
    files = [file for folder in (path, path / "annotations") for file in sorted(folder.glob("*.json"))]
    files = [file for file in files if _is_coco(file)]
    if len(files) > 1:
        listed = ", ".join(file.name for file in files)
        raise DataError(
            f"{path}: has several COCO files ({listed}). Give the one that is meant, or call them train.json "
            "and val.json."
        )
    if files:
        yield FolderSets(f"the COCO file {files[0].name}", {WHOLE: reader(files[0])})


def _is_coco(file: Path) -> bool:
    try:
        data = read_json(file)
    except DataError:
        return False
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in ("images", "annotations"))


def _fiftyone_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    if path.is_dir():
        sets = {
            split: next((file for name in names if is_fiftyone(file := path / name / FILE)), None)
            for split, names in SPLIT_NAMES.items()
        }
        files = {split: file for split, file in sets.items() if file is not None} or {WHOLE: path / FILE}
    else:
        files = {WHOLE: path}
    if all(map(is_fiftyone, files.values())):
        categories = fiftyone_categories(list(files.values()))

        def reader(file: Path) -> Reader:
            return lambda: read_fiftyone(file, categories, invalid=invalid)

        yield FolderSets("FiftyOne's labels.json", {split: reader(file) for split, file in files.items()})


def _yolo_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    def reader(data: YoloData, entry: str) -> Reader:
        return partial(read_yolo_data, data, entry, invalid=invalid)

    if os.path.isdir(path):
        named = next((path / name for name in _YOLO_FILES if os.path.exists(path / name)), None)
        file = named or _other_yolo_file(path)
        if file is None:
            if os.path.isfile(path / "classes.txt") and all(os.path.isdir(path / n) for n in ("images", "labels")):
                names = dict(enumerate(read_names(path / "classes.txt")))
                data = YoloData(path / "classes.txt", names, {WHOLE: "images"}, (path,))
                yield FolderSets("YOLO labels with classes.txt", {WHOLE: reader(data, WHOLE)})
            return
    elif path.suffix in (".yaml", ".yml", ".data"):
        file = path
    else:
        return
    data = read_yolo_file(file)
    entries = {split: next((n for n in names if n in data.entries), None) for split, names in SPLIT_NAMES.items()}
    readers = {split: reader(data, entry) for split, entry in entries.items() if entry is not None}
    if readers:
        yield FolderSets(f"YOLO, {file.name}", readers)


def _other_yolo_file(path: Path) -> Path | None:
    """Returns the only YAML file of a folder that says what a YOLO folder holds."""
    fitting = []
    for file in sorted([*path.glob("*.yaml"), *path.glob("*.yml")]):
        try:
            if file.stat().st_size < _LARGEST_YAML:
                data = parse_yaml(read_text(file), str(file), error=DataError, texts=True)
                fitting += [file] if isinstance(data, dict) and {"names", "train"} <= set(data) else []
        except (DataError, OSError):
            continue
    return fitting[0] if len(fitting) == 1 else None


def _voc_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    if not os.path.isdir(path):
        return
    lists = path / "ImageSets" / "Main"

    def reader(entry: str) -> Reader:
        return partial(read_voc, path, entry, invalid=invalid)

    def folder_reader(sheets: VocSheets) -> Reader:
        return partial(read_voc_folder, sheets, invalid=invalid)

    entries = {
        split: next((n for n in names if os.path.exists(lists / f"{n}.txt")), None)
        for split, names in SPLIT_NAMES.items()
    }
    if any(entries.values()):
        yield FolderSets("Pascal VOC", {split: reader(entry) for split, entry in entries.items() if entry is not None})
        return
    folders = {
        split: next((sheets for name in names if (sheets := _sheets(path / name, path))), None)
        for split, names in SPLIT_NAMES.items()
    }
    if any(folders.values()):
        yield FolderSets(
            "Pascal VOC", {split: folder_reader(sheets) for split, sheets in folders.items() if sheets is not None}
        )
        return
    sheets = _sheets(path, path)
    if sheets is not None:
        yield FolderSets("Pascal VOC's XML files without lists", {WHOLE: folder_reader(sheets)})


def _sheets(folder: Path, root: Path) -> VocSheets | None:
    """Returns a folder's XML files, with the images beside them or in a folder of their own."""
    for notes, pictures in (*_VOC_FOLDERS, ("", "")):
        if next((folder / notes).glob("*.xml"), None) is not None and os.path.isdir(folder / pictures):
            return VocSheets(root, folder / notes, folder / pictures)
    return None


def _csv_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    name = "_annotations.csv"
    sets = {
        split: next((file for folder in names if os.path.isfile(file := path / folder / name)), None)
        for split, names in SPLIT_NAMES.items()
    }
    files = {split: file for split, file in sets.items() if file is not None}
    if not files and os.path.isfile(path / name):
        files = {WHOLE: path / name}
    if files:
        categories = csv_categories(list(files.values()))
        read = partial(read_csv, categories=categories, invalid=invalid)
        yield FolderSets(f"tables {name}", {split: partial(read, file) for split, file in files.items()})


def _vistas_sets(path: Path, invalid: Invalid) -> Iterator[FolderSets]:
    what, sets = find_vistas(path)
    if sets:
        yield FolderSets(what, {split: partial(read_vistas, own) for split, own in sets.items()})
