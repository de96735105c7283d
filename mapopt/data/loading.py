"""Reads the train, val and test sets of a folder of a known layout.

Where there is no test set, the validation set is divided into two halves by seed, because a number that was selected on
cannot also be the published one; `Splits.note` says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mapopt.data.images import ImageSet
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout, find_sets
from mapopt.data.splits import Splits, divide
from mapopt.errors import ConfigError, DataError


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
    """Reads the train, val and test sets of a folder.

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
    sets = []
    for number, notes in enumerate((train, val, test)):
        if limit is not None and limit < len(notes):
            chosen = np.random.default_rng([seed, number]).permutation(len(notes))[:limit]
            notes = notes.select(np.sort(chosen))
        sets.append(ImageSet.read(notes, size=size, workers=workers))
    if limit is not None:
        remarks.append(f"At most {limit} images of each set are used, drawn by seed {seed}.")
    return Splits(train=sets[0], val=sets[1], test=sets[2], note=" ".join(remarks))
