"""What the tests of the data package have in common: small annotations, images on disk, the blood cells if present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.data import Annotations


@pytest.fixture
def make_annotations() -> Callable[..., Annotations]:
    """Returns a maker of three images (the second without objects) and two categories; any column can be replaced."""

    def make(**columns: object) -> Annotations:
        given = {
            "image_ids": [10, 7, 0],
            "file_names": ("a.png", "b.png", "c.png"),
            "widths": [40, 30, 20],
            "heights": [20, 30, 40],
            "category_ids": [5, 0],
            "category_names": ("cat", "dog"),
            "boxes": [[1, 2, 11, 12], [0, 0, 40, 20], [3.25, 4.5, 10.125, 30.75]],
            "labels": [1, 0, 1],
            "images": [0, 0, 2],
            "crowd": [False, False, False],
            "area": [100.0, 800.0, 180.46875],
            "ids": [3, 1, 9],
            **columns,
        }
        return Annotations(**given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def write_images() -> Callable[[Annotations, Path], None]:
    """Returns a writer of random images of the annotated sizes, each different from the others."""

    def write(annotations: Annotations, folder: Path) -> None:
        random = np.random.default_rng([len(str(folder)), *"".join(annotations.file_names).encode()])
        for name, width, height in zip(
            annotations.file_names, annotations.widths.tolist(), annotations.heights.tolist(), strict=True
        ):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)

    return write


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    """Returns the folder of the BCCD set, or skips where it is not beside the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd"
    if not folder.is_dir():
        pytest.skip(f"needs the BCCD set in {folder}")
    return folder
