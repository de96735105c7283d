"""Annotations without a box have that of their polygons; those with nothing are left out on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits
from mapopt.errors import DataError

DATA = Path(__file__).parent / "boxless_annotations" / "data"


def test_a_polygon_has_a_box_and_nothing_can_be_dropped() -> None:
    with pytest.raises(DataError, match=r"annotation 2 \(image 'p001\.jpg'\): has no box\. .*--invalid drop"):
        load_splits(DATA, size=(48, 64))
    notes = load_splits(DATA, size=(48, 64), invalid="drop").train.annotations
    assert notes.boxes[0].tolist() == [32, 15, 70, 37]
    assert notes.ids.tolist() == [1, 3, 4, 5, 6]
