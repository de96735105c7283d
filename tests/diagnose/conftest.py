"""Runs that are small enough to be made by the dozen: the tiny detector on scenes of 32 pixels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mapopt
from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes_splits
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.reading import read_case
from mapopt.training.history import Round

SCENES = ShapesConfig(size=32, object_size=(8, 16), objects=(1, 4))
ROUNDS, IMAGES = 20, 2560
EARLY = 2
"""A tenth of the rounds."""


def until(controller: Controller, rounds: int) -> Controller:
    """Returns another controller up to a round, where it stops."""

    class Until:
        def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
            decision = controller.decide(history, task, budget)
            return dataclasses.replace(decision, stop="the test has seen enough" if len(history) >= rounds else "")

    return Until()


MakeRun = Callable[..., Case]


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Scenes of which the default recipe learns something in 160 steps."""
    return make_shapes_splits(SCENES, seed=5, train=128, val=64, test=8)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Trains, up to a round, and returns what is known of the run."""

    def make(
        splits: Splits, *, rounds: int = ROUNDS, schedule: Mapping[str, Any] | None = None, **settings: Any
    ) -> Case:
        controller, folder = Schedule(**(schedule or {})), tmp_path_factory.mktemp("run")
        mapopt.train(
            splits,
            out=folder,
            images=settings.pop("images", IMAGES),
            rounds=ROUNDS,
            controller=until(controller, rounds),
            device="cpu",
            **settings,
        )
        # The test's own stop is no matter of the run, which is then as one that goes on.
        return dataclasses.replace(read_case(folder, splits=splits), status="", reason="", schedule=controller)

    return make


@pytest.fixture(scope="session")
def healthy(splits: Splits, make_run: MakeRun) -> Case:
    """A whole run of the default recipe."""
    return make_run(splits)


def write_coco_folder(folder: Path, splits: Splits) -> dict[str, Any]:
    """Writes splits as PNG files with COCO annotations; returns the annotations by split, to be spoiled and saved."""
    (folder / "images").mkdir(parents=True)
    content = {}
    for name, images in splits.named():
        notes = images.annotations
        for row, pixels in enumerate(images.pixels):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "images" / f"{name}{row}.png")
        sides = notes.boxes[:, 2:] - notes.boxes[:, :2]
        content[name] = {
            "images": [
                {"id": row, "file_name": f"{name}{row}.png", "width": images.size[1], "height": images.size[0]}
                for row in range(len(images))
            ],
            "annotations": [
                {"id": row, "image_id": int(image), "category_id": int(label) + 1, "bbox": [*low, *side], "iscrowd": 0}
                for row, (image, label, low, side) in enumerate(
                    zip(notes.images, notes.labels, notes.boxes[:, :2].tolist(), sides.tolist(), strict=True)
                )
            ],
            "categories": [{"id": row, "name": text} for row, text in enumerate(notes.category_names, start=1)],
        }
    save_coco_folder(folder, content)
    return content


def save_coco_folder(folder: Path, content: Mapping[str, Any]) -> None:
    """Saves annotations by split."""
    for name, part in content.items():
        (folder / f"{name}.json").write_text(json.dumps(part))


def with_notes(pictures: ImageSet, **columns: Any) -> ImageSet:
    """Returns images with other columns of annotations."""
    return dataclasses.replace(pictures, annotations=dataclasses.replace(pictures.annotations, **columns))


def with_boxes(images: ImageSet, boxes: np.ndarray) -> ImageSet:
    """Returns images with other boxes, cut at the edges; those that are hardly there are left out."""
    cut = np.clip(boxes, 0, images.size[0])
    kept = (cut[:, 2:] - cut[:, :2]).min(axis=1) > 1
    left = dataclasses.replace(images, annotations=images.annotations.keep(kept))
    return with_notes(left, boxes=cut[kept], area=(cut[kept, 2:] - cut[kept, :2]).prod(axis=1))
