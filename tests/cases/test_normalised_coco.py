"""Boxes between 0 and 1 in an annotation file are fractions, which would train nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits
from mapopt.errors import DataError

DATA = Path(__file__).parent / "normalised_coco" / "data"


@pytest.mark.parametrize("invalid", ["error", "clip", "drop"])
def test_fractions_are_refused(invalid: str) -> None:
    with pytest.raises(DataError, match=r"train\.json: all boxes lie between 0 and 1, as fractions of the image\."):
        load_splits(DATA, size=(48, 64), invalid=invalid)
