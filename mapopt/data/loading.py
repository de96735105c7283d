"""Reads train, val and test sets: of a folder of a known layout, or of data sets in memory.

Where there is no test set, the validation set is divided into two halves by seed, because a number that was selected on
cannot also be the published one; `Splits.note` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack, get_args

import numpy as np

from mapopt.data.annotations import Annotations
from mapopt.data.datasets import DetectionDataset, splits_from_datasets
from mapopt.data.dicts import CategoryNames
from mapopt.data.images import ImageSet, image_paths
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import WHOLE, Layout, Part, find_sets, find_splits, find_whole
from mapopt.data.layouts import read_part as read_part
from mapopt.data.memory import check_memory
from mapopt.data.options import check_fractions
from mapopt.data.paths import remark_on_unlisted
from mapopt.data.splits import Splits, divide, divide_in_three
from mapopt.errors import ConfigError, DataError, unknown_name

DataSource = str | Path | Splits | Mapping[str, DetectionDataset] | Sequence[DetectionDataset]
"""A folder of images with annotations; splits in memory; or data sets of ``(image, target)``: two or three in the order
train, val, test, or by these names."""


class FolderOptions(TypedDict, total=False):
    """How a folder is read."""

    layout: Layout
    """Which kind of folder it is; ``"auto"`` finds out, in the order COCO, YOLO, VOC."""
    split: tuple[float, float, float] | None
    """Fractions by which what is one set is divided by seed into train, val and test."""
    bits: int
    """How many bits of images with 16 bits are in use, 8 to 16; the upper 8 of them are kept."""
    workers: int
    """Threads that decode the images."""
    on_demand: bool
    """Hold no image in memory, but decode it again whenever it is asked for."""


def load_splits(
    data: DataSource,
    *,
    size: tuple[int, int],
    invalid: Invalid = "error",
    limit: int | None = None,
    seed: int = 0,
    categories: CategoryNames | None = None,
    **folder: Unpack[FolderOptions],
) -> Splits:
    """Reads the train, val and test sets of a folder, or of data sets in memory.

    Args:
        data: the folder (COCO, Pascal VOC or YOLO), a YOLO ``data.yaml``, or a COCO file, to be divided; data sets of
            ``(image, target)``, see `splits_from_datasets`: ``(train, val)``, ``(train, val, test)``, or a mapping with
            these names; or splits, which are returned as they are.
        size: (height, width) that the images are fitted into.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        limit: at most so many images of each set, drawn by `seed`.
        seed: decides which images `limit` takes, and how sets are divided.
        categories: names for the labels of data sets in memory; files have them.
        folder: how a folder is read, see `FolderOptions`.

    Raises:
        DataError: nothing is recognized, something is missing, wrong or in two sets, or the images do not fit into
            memory.
        ConfigError: a setting is not possible, or says nothing about such data.
    """
    for name in folder:
        if name not in FolderOptions.__annotations__:
            raise ConfigError(unknown_name("setting of load_splits", name, FolderOptions.__annotations__))
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}. Expected at least 1 image of each set, or None for all.")
    if isinstance(data, Splits):
        if data.train.size != tuple(size):
            raise ConfigError(f"splits are at {data.train.size} pixels, but size is {tuple(size)}: expected one size")
        return data
    if not isinstance(data, str | Path):
        sets = _by_name(data)
        return splits_from_datasets(**sets, size=size, categories=categories, invalid=invalid, limit=limit, seed=seed)
    if categories is not None:
        raise ConfigError(f"categories are given, but {data} has its own: leave them out")
    notes, remarks = _annotations(Path(data), invalid, seed, folder)
    remarks.append(remark_on_unlisted([path for part in notes for path in image_paths(part)]))
    if limit is not None:
        notes = [_limited(part, limit, [seed, number]) for number, part in enumerate(notes)]
        remarks.append(f"At most {limit} images of each set are used, drawn by seed {seed}.")
    if not folder.get("on_demand", False):
        check_memory([len(part) for part in notes], size, flags=_SMALLER)
    train, val, test = (_read(part, size, folder) for part in notes)
    for name, images in (("train", train), ("val", val), ("test", test)):
        remarks += [f"In the {name} set: {remark}" for remark in images.annotations.remarks]
    return Splits(train=train, val=val, test=test, note=" ".join(filter(None, remarks)))


def load_part(
    data: str | Path,
    part: Part,
    *,
    size: tuple[int, int],
    invalid: Invalid = "error",
    limit: int | None = None,
    seed: int = 0,
    **folder: Unpack[FolderOptions],
) -> ImageSet:
    """Reads one set, to evaluate on: of a folder that could be trained on, or all of what is one set.

    Args:
        data: the folder, or a COCO ``.json``. What is one set is read whole, whatever `part` says, unless it is to be
            divided.
        part: which set.
        size: (height, width) that the images are fitted into.
        invalid: see `load_splits`.
        limit: see `load_splits`.
        seed: see `load_splits`.
        folder: see `load_splits`.

    Raises:
        DataError: nothing is recognized, or the set is missing or wrong.
        ConfigError: a setting is not possible.
    """
    path = Path(data)
    sets = find_sets(path, folder.get("layout", "auto"), invalid).readers
    if folder.get("split") is not None or ("train" in sets and "val" in sets):
        splits = load_splits(path, size=size, invalid=invalid, limit=limit, seed=seed, **folder)
        images: ImageSet = getattr(splits, part)
        return images
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}. Expected at least 1 image of each set, or None for all.")
    if part not in sets and WHOLE not in sets:
        raise DataError(f"{path}: has no {part} set. Name one that is there: {', '.join(sets)}.")
    notes = sets[WHOLE if WHOLE in sets else part]().without_repeats()
    if limit is not None:
        notes = _limited(notes, limit, [seed, get_args(Part).index(part)])
    if not folder.get("on_demand", False):
        check_memory([len(notes)], size, flags=_SMALLER)
    return _read(notes, size, folder)


_SMALLER = "--size or --data-limit, or --workers 2, which decodes images whenever they are needed"
"""What helps where images do not fit into memory."""


def _read(notes: Annotations, size: tuple[int, int], folder: FolderOptions) -> ImageSet:
    return ImageSet.read(
        notes,
        size=size,
        workers=folder.get("workers", 0),
        bits=folder.get("bits", 16),
        on_demand=folder.get("on_demand", False),
    )


def _annotations(path: Path, invalid: Invalid, seed: int, folder: FolderOptions) -> tuple[list[Annotations], list[str]]:
    """Returns the annotations of train, val and test, and how they came about."""
    layout, fractions = folder.get("layout", "auto"), folder.get("split")
    if fractions is not None:
        check_fractions(fractions)
        whole = find_whole(path, layout, invalid).without_repeats()
        if len(whole) < 3:
            raise DataError(f"{path}: has {len(whole)} images, which cannot be divided into three sets. Add images.")
        parts = divide_in_three(len(whole), fractions, seed=seed, alike=_alike(whole))
        shown = ", ".join(f"{fraction:g}" for fraction in fractions)
        remark = f"One set is divided into train, val and test sets ({shown}) by seed {seed}."
        return [replace(whole.select(part), remarks=()) for part in parts], [remark, *whole.remarks]
    readers = find_splits(path, layout, invalid)
    train, val = readers["train"]().without_repeats(), readers["val"]().without_repeats()
    if "test" in readers:
        return [train, val, readers["test"]().without_repeats()], []
    if len(val) < 2:
        raise DataError(f"{path}: has no test set, and one val image cannot be divided. Add a test set.")
    first, second = divide(len(val), seed=seed)
    remark = f"No test set was found: the validation set is divided into two halves by seed {seed}."
    return [train, val.select(first), replace(val.select(second), remarks=())], [remark]


def _alike(notes: Annotations) -> np.ndarray:
    """Returns a number for each image, the same where files are: copies must not come into two sets."""
    seen: dict[bytes, int] = {}
    numbers = []
    for position, path in enumerate(image_paths(notes)):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
        except OSError:
            # What is missing is said when the images are read.
            content = str(path).encode()
        numbers.append(seen.setdefault(content, position))
    return np.array(numbers)


def _limited(notes: Annotations, limit: int, seed: Sequence[int]) -> Annotations:
    if limit >= len(notes):
        return notes
    return notes.select(np.sort(np.random.default_rng(seed).permutation(len(notes))[:limit]))


def _by_name(data: Mapping[str, DetectionDataset] | Sequence[DetectionDataset]) -> dict[str, DetectionDataset]:
    """Returns data sets by the names of their splits."""
    names = ("train", "val", "test")
    if isinstance(data, Mapping):
        for name in data:
            if name not in names:
                raise ConfigError(unknown_name("split", str(name), names))
        named = dict(data)
    elif isinstance(data, tuple | list) and len(data) in (2, 3):
        named = dict(zip(names, data, strict=False))
    else:
        count = f" of {len(data)}" if isinstance(data, tuple | list) else ""
        raise DataError(
            f"data are of type {type(data).__name__}{count}. Expected a folder, splits, or data sets: "
            "(train, val), (train, val, test), or a mapping with these names."
        )
    for name in names[:2]:
        if name not in named:
            raise DataError(f"data have no {name} set. Expected data sets with the names train, val and perhaps test.")
    return named
