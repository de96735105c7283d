"""What all tests share: one thread, small scenes, and the way to data that is not part of the repository."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mapopt.data import Annotations, ShapesConfig, Splits, make_shapes_splits
from mapopt.evaluation.inputs import Predictions, named_ground_truth
from mapopt.ffmpeg import find_ffmpeg
from mapopt.metrics import Detections
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

SHARED = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_splits() -> Splits:
    """A set that trains in a blink."""
    return make_shapes_splits(ShapesConfig(), seed=3, train=24, val=10, test=12)


@pytest.fixture(scope="session")
def write_set() -> Callable[..., Path]:
    """Writes a COCO folder of images of noise with a red square in each."""
    return _write_set


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., Path]:
    """Writes pictures, uint8 ``[n, height, width, 3]``, as a video without loss, by arguments of ffmpeg."""
    pytest.importorskip("imageio_ffmpeg", reason="the optional package imageio-ffmpeg is not installed")
    return _write_clip


def _write_clip(
    path: Path, pictures: np.ndarray, *output: str, rate: str = "25", before: Sequence[str | Path] = ()
) -> Path:
    """See `write_clip`; without arguments the codec is FFV1 in RGB. What is before them is one more thing to read."""
    size = f"{pictures.shape[2]}x{pictures.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "pipe:0"]
    arguments = output or ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    subprocess.run(
        [find_ffmpeg(), "-v", "error", *source, *before, *arguments, "-y", f"file:{path}"],
        input=pictures.tobytes(),
        check=True,
    )
    return path


def _write_set(folder: Path, count: int = 8, *, seed: int = 0, sides: tuple[int, int] = (60, 45)) -> Path:
    """See `write_set`."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    for part, number in (("train", count), ("val", 3), ("test", 3)):
        images, objects = [], []
        for place in range(number):
            pixels = random.integers(0, 255, (sides[1], sides[0], 3), dtype=np.uint8)
            left, top = (int(random.integers(0, side // 2)) for side in sides)
            pixels[top : top + 20, left : left + 20] = (255, 0, 0)
            name = f"{part}{place}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            images.append({"id": place, "file_name": name, "width": sides[0], "height": sides[1]})
            box = {"bbox": [left, top, 20, 20], "area": 400, "iscrowd": 0, "category_id": 1}
            objects.append({"id": place, "image_id": place, **box})
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "red"}]}
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def make_task(small_splits: Splits) -> Callable[..., Task]:
    """Makes a task on the small set: recipe fields by name, knobs as a dictionary."""

    def make(*, knobs: dict[str, float] | None = None, **recipe: object) -> Task:
        settings = Recipe(**{"batch_size": 4, **recipe})  # type: ignore[arg-type]
        return Task(name="small", splits=small_splits, recipe=settings, knobs=Knobs(**(knobs or {})))

    return make


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    """The folder of real images; tests that need it are skipped without it."""
    folder = SHARED / "data" / "bccd"
    if not folder.is_dir():
        pytest.skip("shared/data/bccd, the blood cell images, is not here")
    return folder


def _scene(categories: int, images: int = 40):
    """Makes objects on a grid, so that none overlap, and a detector that finds four in five of them."""
    generator = np.random.default_rng(categories)
    corners = np.stack(np.meshgrid(np.arange(5) * 20.0, np.arange(5) * 20.0), axis=-1).reshape(-1, 2)
    place = np.tile(corners, (images, 1))
    boxes = np.concatenate([place, place + 15], axis=1)
    # Frequencies fall, and the last category has no object at all.
    weights = 1 / np.arange(1, categories)
    labels = generator.choice(categories - 1, len(boxes), p=weights / weights.sum())
    where = np.repeat(np.arange(images), len(corners))
    notes = Annotations(
        image_ids=100 + np.arange(images),
        file_names=tuple(f"{number}.jpg" for number in range(images)),
        widths=np.full(images, 100),
        heights=np.full(images, 100),
        category_ids=10 * (1 + np.arange(categories)),
        category_names=tuple(f"kind {number}" for number in range(categories)),
        boxes=boxes,
        labels=labels,
        images=where,
        crowd=np.zeros(len(boxes), bool),
        area=np.full(len(boxes), 225.0),
        ids=np.arange(len(boxes)),
    )
    truth = named_ground_truth(notes, name="truth.json")
    return truth, lambda seed, shift: _predictions(truth, seed, shift)


def _predictions(truth, seed, shift):
    generator, notes = np.random.default_rng(seed), truth.notes
    kept = np.flatnonzero(generator.random(len(notes.boxes)) < 0.8)
    boxes = notes.boxes[kept] + np.tile(generator.normal(0, shift, (len(kept), 2)), 2)
    labels = np.where(generator.random(len(kept)) < 0.1, 0, notes.labels[kept])
    scores = np.round(generator.random(len(kept)), 3)
    detections = Detections(boxes, scores, notes.category_ids[labels], notes.image_ids[notes.images[kept]])
    return Predictions(name=f"detector {seed}/results.json", detections=detections)


@pytest.fixture(scope="session")
def evaluated_scene():
    """Makes a ground truth of so many categories, and a function from a seed and a shift to predictions."""
    return _scene
