"""Reads train, val and test sets: of a folder of a known layout, or of data sets in memory.

Where there is no test set, the validation set is divided into two halves by seed, because a number that was selected on
cannot also be the published one; `Splits.note` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mapopt.data.datasets import DetectionDataset, splits_from_datasets
from mapopt.data.dicts import CategoryNames
from mapopt.data.images import ImageSet
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout, find_sets
from mapopt.data.splits import Splits, divide
from mapopt.errors import ConfigError, DataError, unknown_name

DataSource = str | Path | Splits | Mapping[str, DetectionDataset] | Sequence[DetectionDataset]
"""A folder of images with annotations; splits in memory; or data sets of ``(image, target)``: two or three in the order
train, val, test, or by these names."""


def load_splits(
    data: DataSource,
    *,
    size: tuple[int, int],
    invalid: Invalid = "error",
    limit: int | None = None,
    seed: int = 0,
    layout: Layout = "auto",
    categories: CategoryNames | None = None,
    workers: int = 0,
) -> Splits:
    """Reads the train, val and test sets of a folder, or of data sets in memory.

    Args:
        data: the folder (COCO, Pascal VOC or YOLO), or a YOLO ``data.yaml``; data sets of ``(image, target)``, see
            `splits_from_datasets`: ``(train, val)``, ``(train, val, test)``, or a mapping with these names; or splits,
            which are returned as they are.
        size: (height, width) that the images are fitted into.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        limit: at most so many images of each set, drawn by `seed`.
        seed: decides which images `limit` takes, and how a validation set is divided.
        layout: which kind of folder it is; ``"auto"`` finds out, in the order COCO, YOLO, VOC.
        categories: names for the labels of data sets in memory; files have them.
        workers: threads that decode the images of a folder.

    Raises:
        DataError: nothing is recognized, or something is missing, wrong or in two sets.
        ConfigError: a setting is not possible, or says nothing about such data.
    """
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
    path = Path(data)
    readers = find_sets(path, layout, invalid)
    remarks = []
    train, val = readers["train"](), readers["val"]()
    if "test" in readers:
        test = readers["test"]()
    else:
        if len(val) < 2:
            raise DataError(f"{path}: has no test set, and one val image cannot be divided. Add a test set.")
        first, second = divide(len(val), seed=seed)
        val, test = val.select(first), val.select(second)
        remarks.append(f"No test set was found: the validation set is divided into two halves by seed {seed}.")
    sets_read = []
    for number, notes in enumerate((train, val, test)):
        if limit is not None and limit < len(notes):
            chosen = np.random.default_rng([seed, number]).permutation(len(notes))[:limit]
            notes = notes.select(np.sort(chosen))
        sets_read.append(ImageSet.read(notes, size=size, workers=workers))
    if limit is not None:
        remarks.append(f"At most {limit} images of each set are used, drawn by seed {seed}.")
    return Splits(train=sets_read[0], val=sets_read[1], test=sets_read[2], note=" ".join(remarks))


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
