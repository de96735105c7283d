"""A loaded detector finds what the trainer found, for every kind of checkpoint."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.errors import CheckpointError
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.fleet import Trainer
from mapopt.training.inference import LoadedDetector
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


@pytest.fixture
def give_threads_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def save(trainer: Trainer, path: Path) -> None:
    train = trainer.task.splits.train
    Checkpoint(
        snapshot=trainer.snapshot(),
        recipe=trainer.task.recipe,
        categories=train.annotations.category_names,
        size=train.size,
        history=(),
        settings={},
    ).save(path)


RECIPES = [
    Recipe(batch_size=8),
    Recipe(batch_size=8, ema=0.9),
    Recipe(batch_size=8, optimizer="schedule_free_adamw"),
    Recipe(batch_size=8, optimizer="dog"),
    Recipe(batch_size=8, loss="ap", memory=100, soft_labels=True),
    *(
        pytest.param(Recipe(detector=name, batch_size=2, loss=loss, optimizer="sgd"), marks=pytest.mark.slow)
        for name, loss in (
            ("nano", "mal"),
            ("resnet18", "focal"),
            ("faster_rcnn_resnet18", "torchvision"),
            ("ssdlite", "ap"),
        )
    ),
]


@pytest.mark.usefixtures("give_threads_back")
@pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda recipe: f"{recipe.detector}, {recipe.loss}, {recipe.optimizer}, {recipe.ema}"
)
def test_a_loaded_detector_finds_bit_for_bit_what_the_trainer_found(tmp_path: Path, recipe: Recipe) -> None:
    tiny = recipe.detector == "tiny"
    scenes = ShapesConfig(size=32 if tiny else 64, object_size=(8.0, 16.0))
    splits = make_shapes_splits(scenes, seed=1, train=16, val=8, test=8 if tiny else 3)
    task = Task(
        name="t", splits=splits, recipe=recipe, knobs=Knobs(score_threshold=0.01, nms_iou=0.4, detections=7, lr=0.01)
    )
    trainer = Trainer(task, 3)
    trainer.train((10 if tiny else 1) * recipe.batch_size)
    save(trainer, tmp_path / "c.pt")
    # With one thread the kernels of one lane and of several give the same bits; with two they do not.
    torch.set_num_threads(2 if tiny else 1)
    ours = LoadedDetector(tmp_path / "c.pt", torch.device("cpu")).detect(splits.test)
    theirs = trainer.detect("test")
    assert len(ours) > 0
    for name in ("boxes", "scores", "labels", "image_ids"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    splits = make_shapes_splits(ShapesConfig(), seed=1, train=4, val=2, test=2)
    path = tmp_path / "odd.pt"
    save(Trainer(Task(name="t", splits=splits), 3), path)
    LoadedDetector(path, torch.device("cpu"))
    dataclasses.replace(Checkpoint.load(path), categories=("one",)).save(path)
    with pytest.raises(CheckpointError, match=r"odd\.pt: its weights do not fit a 'tiny'\. Train it again\."):
        LoadedDetector(path, torch.device("cpu"))
