"""The running average of the weights is the formula it is documented by, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.training import Knobs, LoadedDetector, Recipe, Task, Trainer
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.evaluated import running_statistics


@pytest.mark.parametrize("ema", [0.2, 0.9])
def test_the_average_follows_a_decay_that_warms_up_to_its_limit(make_task: Callable[..., Task], ema: float) -> None:
    trainer = Trainer(make_task(ema=ema))
    engine = trainer.fleet._engines[0]
    average = engine.detector.weights.detach()[0].clone()
    for step in range(4):
        trainer.train(4)
        decay = min(ema, (1 + step) / (10 + step))
        average = average * decay + engine.detector.weights.detach()[0] * (1 - decay)
        torch.testing.assert_close(engine.average[0], average, rtol=1e-6, atol=1e-7)


@pytest.fixture
def normed() -> Trainer:
    splits = make_shapes_splits(ShapesConfig(size=64), seed=3, train=6, val=2, test=2)
    recipe = Recipe(detector="ssdlite", loss="torchvision", batch_size=2, ema=0.9)
    return Trainer(Task(name="few", splits=splits, recipe=recipe, knobs=Knobs(score_threshold=0.01)), 1)


def test_running_statistics_are_averaged_with_the_weights(normed: Trainer, tmp_path: Path) -> None:
    engine = normed.fleet._engines[0]
    statistics = running_statistics(engine.detector)
    assert len(statistics) > 50
    assert all(name.endswith(("running_mean", "running_var")) for name in statistics)
    averages = {name: value.clone() for name, value in statistics.items()}
    for step in range(3):
        normed.train(2)
        decay = min(0.9, (1 + step) / (10 + step))
        now = running_statistics(engine.detector)
        averages = {name: value * decay + now[name] * (1 - decay) for name, value in averages.items()}
    state, best = normed.snapshot().tensors, normed.fleet.for_detection(0).tensors
    name = next(iter(averages))
    for where in (state[f"average.{name}"], best[f"buffer.{name}"]):
        torch.testing.assert_close(where, averages[name][0], rtol=1e-5, atol=1e-6)
    assert not torch.equal(state[f"buffer.{name}"], best[f"buffer.{name}"]), "training goes on with its own"
    expected = normed.detect("test")
    assert torch.equal(normed.snapshot().tensors[f"buffer.{name}"], state[f"buffer.{name}"]), "they are put back"
    train = normed.task.splits.train
    folder = CheckpointFolder(
        folder=tmp_path,
        recipe=normed.task.recipe,
        categories=train.annotations.category_names,
        size=train.size,
        settings={},
    )
    folder.save("best", normed.fleet.for_detection(0), [])
    folder.save("last", normed.snapshot(), [])
    for file in ("best.pt", "last.pt"):
        loaded = LoadedDetector(tmp_path / file, torch.device("cpu")).detect(normed.task.splits.test)
        assert loaded.scores.tolist() == expected.scores.tolist(), file


def test_a_state_without_averages_of_statistics_begins_them_anew(normed: Trainer) -> None:
    normed.train(4)
    state = normed.snapshot()
    former = {name: value for name, value in state.tensors.items() if not name.startswith("average.")}
    assert len(former) < len(state.tensors)
    normed.train(4)
    normed.restore(dataclasses.replace(state, tensors=former))
    now = normed.snapshot().tensors
    for name in (name.removeprefix("average.") for name in now if name.startswith("average.")):
        assert torch.equal(now[f"average.{name}"], former[f"buffer.{name}"])
