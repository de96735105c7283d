"""Checkpoints of runs that began with pretrained weights, whose norms are frozen: they load, and others can start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training import LoadedDetector, Recipe, Task, Trainer
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.exporting import _module_of
from mapopt.training.knobs import Knobs
from mapopt.training.start import start_from
from mapopt.training.trained_detector import TrainedDetector

DETECTORS = ["resnet18", pytest.param("retinanet_resnet18", marks=pytest.mark.slow)]

Make = Callable[[str, str | None], Trainer]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes trainers; the file of the pretrained weights stands where a download would have put it."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    body = resnet18()
    body(torch.rand(4, 3, 64, 64))
    name = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    torch.save(body.state_dict(), home / "hub" / "checkpoints" / name)
    splits = make_shapes_splits(ShapesConfig(size=64), seed=3, train=4, val=2, test=2)

    def trainer(detector: str, weights: str | None) -> Trainer:
        recipe = Recipe(detector=detector, batch_size=2, weights=weights)
        return Trainer(Task(name="few", splits=splits, recipe=recipe, knobs=Knobs(score_threshold=0.01)), 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield trainer


def saved(trainer: Trainer, folder: Path) -> Path:
    train = trainer.task.splits.train
    names = train.annotations.category_names
    states = CheckpointFolder(folder=folder, recipe=trainer.task.recipe, categories=names, size=train.size, settings={})
    states.save("best", trainer.fleet.for_detection(0), [])
    return folder / "best.pt"


@pytest.mark.parametrize("name", DETECTORS)
def test_a_loaded_detector_finds_what_the_trainer_found(make: Make, tmp_path: Path, name: str) -> None:
    trainer = make(name, "DEFAULT")
    trainer.train(2)
    path = saved(trainer, tmp_path)
    detections = LoadedDetector(path, torch.device("cpu")).detect(trainer.task.splits.test)
    expected = trainer.detect("test")
    assert len(detections) > 0
    for column in ("boxes", "scores", "labels", "image_ids"):
        np.testing.assert_array_equal(getattr(detections, column), getattr(expected, column))
    assert "DEFAULT" in _module_of(TrainedDetector(path, torch.device("cpu")))["module"], (
        "what loads the exported weights"
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_another_run_starts_from_it_with_the_same_norms(make: Make, tmp_path: Path, name: str) -> None:
    first = make(name, "DEFAULT")
    first.train(2)
    path, again = saved(first, tmp_path), make(name, "DEFAULT")
    start_from(again, path)
    assert torch.equal(again.snapshot().tensors["weights"], first.snapshot().tensors["weights"])
    with pytest.raises(
        CheckpointError, match=r"weights DEFAULT, not None, .* give --recipe\.weights DEFAULT, or leave"
    ):
        start_from(make(name, None), path)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_reset_forgets_the_norms_of_others(make: Make, name: str) -> None:
    trainer = make(name, "DEFAULT")
    fresh = trainer.snapshot()
    others = {key: value + 1 if value.is_floating_point() else value for key, value in fresh.tensors.items()}
    trainer.restore(dataclasses.replace(fresh, tensors=others))
    now = trainer.snapshot().tensors
    assert any(torch.equal(now[key], others[key]) for key in others if "running_mean" in key)
    trainer.reset(1)
    now = trainer.snapshot().tensors
    assert [key for key, value in fresh.tensors.items() if not torch.equal(now[key], value)] == []


def test_frozen_norms_are_not_given_to_weights_of_others(make: Make, tmp_path: Path) -> None:
    path = saved(make("resnet18", None), tmp_path)
    with pytest.raises(CheckpointError, match=r"weights None, not DEFAULT, .* leave --recipe\.weights out, or leave"):
        start_from(make("resnet18", "DEFAULT"), path)


def forget_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object, **named: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(type(ResNet18_Weights.DEFAULT), "get_state_dict", gone)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_checkpoint_is_enough_to_detect(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trainer = make(name, "DEFAULT")
    trainer.train(2)
    path, expected = saved(trainer, tmp_path), trainer.detect("test")
    forget_the_file(monkeypatch)
    detections = LoadedDetector(path, torch.device("cpu")).detect(trainer.task.splits.test)
    np.testing.assert_array_equal(detections.boxes, expected.boxes)
    np.testing.assert_array_equal(detections.scores, expected.scores)


def test_a_checkpoint_of_an_earlier_version_needs_the_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make("resnet18", "DEFAULT")
    trainer.train(2)
    state, path = trainer.fleet.for_detection(0), tmp_path / "best.pt"
    kept = {name: value for name, value in state.tensors.items() if not name.startswith("buffer.constant.")}
    assert len(kept) < len(state.tensors)
    old = dataclasses.replace(state, tensors=kept)
    names, size = trainer.task.splits.train.annotations.category_names, trainer.task.splits.train.size
    CheckpointFolder(folder=tmp_path, recipe=trainer.task.recipe, categories=names, size=size, settings={}).save(
        "best", old, []
    )
    detections = LoadedDetector(path, torch.device("cpu")).detect(trainer.task.splits.test)
    np.testing.assert_array_equal(detections.scores, trainer.detect("test").scores)
    trainer.restore(old)
    forget_the_file(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"download of the weights IMAGENET1K_V1 of resnet18 failed .* put the file at"
    ):
        LoadedDetector(path, torch.device("cpu"))
