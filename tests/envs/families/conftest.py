"""What all tests of families have: a data set on disk, written by our own writers in every layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mapopt.data import Annotations, ShapesConfig, make_shapes, write_coco, write_voc, write_yolo

WRITERS: dict[str, Callable[[Annotations, Path], None]] = {
    "coco": lambda annotations, folder: write_coco(annotations, folder / "train.json"),
    "voc": lambda annotations, folder: write_voc(annotations, folder, "train"),
    "yolo": lambda annotations, folder: write_yolo(annotations, folder, "train"),
}
PICTURES = {"coco": "images", "voc": "JPEGImages", "yolo": "images/train"}


def _write(folder: Path, layout: str = "coco", count: int = 20, **parameters: object) -> Path:
    """Writes scenes of 96 pixels as a folder's train set."""
    settings = {"size": 96, "objects": (2, 6), "object_size": (12.0, 40.0), **parameters}
    scenes = make_shapes(ShapesConfig(**settings), seed=5, count=count)  # type: ignore[arg-type]
    pictures = folder / PICTURES[layout]
    pictures.mkdir(parents=True)
    for name, pixels in zip(scenes.annotations.file_names, scenes.pixels, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(pictures / name)
    WRITERS[layout](replace(scenes.annotations, root=folder), folder)
    return folder


@pytest.fixture(scope="session")
def write_data() -> Callable[..., Path]:
    """Returns a writer of ``(folder, layout, count, **parameters)``."""
    return _write


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a COCO folder of 20 images."""
    return _write(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    """Returns the folder of the BCCD set, or skips where it is not beside the repository."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "bccd"
    if not folder.is_dir():
        pytest.skip(f"needs the BCCD set in {folder}")
    return folder
