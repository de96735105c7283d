"""CVAT's export "YOLO 1.1", which is darknet's: obj.data, obj.names and a list of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits, read_part
from mapopt.errors import DataError

DATA = Path(__file__).parent / "cvat_yolo11" / "data"


def test_the_set_is_read_and_divided() -> None:
    notes = read_part(DATA, "train")
    assert (len(notes), len(notes.boxes), notes.category_names) == (4, 8, ("cat", "dog", "pig"))
    with pytest.raises(DataError, match=r"has no val set.*Or divide the train set by seed: --split 0\.7 0\.15 0\.15"):
        load_splits(DATA, size=(48, 64))
    splits = load_splits(DATA, size=(48, 64), split=(0.5, 0.25, 0.25))
    assert [len(images) for _, images in splits.named()] == [2, 1, 1]
