"""What does not fit into memory is computed first and refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits, make_shapes_splits
from mapopt.data.memory import check_memory, free_memory
from mapopt.data.shapes_config import ShapesConfig
from mapopt.errors import DataError

FOLDER = Path(__file__).parent / "windows_separators" / "coco"
MESSAGE = r"images at \d+ x \d+ pixels take \d+\.\d GB of memory, and \d+\.\d GB are free\. Give a smaller --"


def test_the_size_is_computed_before_any_image_is_decoded() -> None:
    with pytest.raises(DataError, match=MESSAGE + "size or --data-limit"):
        load_splits(FOLDER, size=(1 << 20, 1 << 20))
    with pytest.raises(DataError, match=MESSAGE + r"scenes\.size or --scene-counts"):
        make_shapes_splits(ShapesConfig(), seed=0, train=1 << 30, val=1, test=1)


def test_what_fits_is_not_refused() -> None:
    free = free_memory()
    assert free is None or free > 1 << 20
    check_memory([10, 5], (8, 8))
