"""The train images of a task may change in mid-run: which a lane is on follows from the images it has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes, make_shapes_splits
from mapopt.errors import ConfigError, DataError
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.fixed import Constant
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe
from mapopt.training.task import DataChange, Task

SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))
SPLITS = make_shapes_splits(SCENES, seed=0, train=8, val=4, test=4)
OTHER = make_shapes(replace(SCENES, imbalance=20.0), seed=9, count=12)


def task(after: int | None = 8, **recipe: Any) -> Task:
    change = None if after is None else DataChange(after=after, train=OTHER)
    return Task(name="changing", splits=SPLITS, recipe=Recipe(batch_size=4, **recipe), change=change)


def same(first: Any, second: Any) -> bool:
    mine, theirs = first.snapshot().tensors, second.snapshot().tensors
    return all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_before_the_change_it_is_a_run_without_and_after_it_one_on_the_other_images() -> None:
    changing, plain = Trainer(task(), seed=3), Trainer(task(None), seed=3)
    for trainer in (changing, plain):
        trainer.train(8)
    assert same(changing, plain)
    other = Trainer(Task(name="other", splits=replace(SPLITS, train=OTHER), recipe=Recipe(batch_size=4)), seed=3)
    other.restore(changing.snapshot())
    for trainer in (changing, plain, other):
        trainer.train(8)
    assert same(changing, other), "what is trained on is a function of seed, images seen and data"
    assert not same(changing, plain)
    assert changing.evaluate().stats.tolist() == other.evaluate().stats.tolist()
    assert changing.detect("train").image_ids.max() >= len(SPLITS.train), "the images of now"


@pytest.mark.parametrize("recipe", [{}, {"loss": "focal", "class_balance": "weights"}, {"class_balance": "sampling"}])
def test_a_snapshot_goes_on_with_the_data_it_was_on_in_any_lane(recipe: dict[str, Any]) -> None:
    alone = Trainer(task(**recipe), seed=3)
    states = []
    for _ in range(3):
        states.append(alone.snapshot())
        alone.train(4)
    states.append(alone.snapshot())
    alone.train(4)
    end = alone.snapshot().tensors
    for number, state in enumerate(states):
        fleet = Fleet(task(**recipe), [7, 8, 9])
        fleet.train(12, active=[True, False, False])
        fleet.restore(2, state)
        for _ in range(4 - number):
            fleet.train(4, active=[True, False, True])
        assert all(torch.equal(tensor, end[name]) for name, tensor in fleet.snapshot(2).tensors.items())


def test_the_weights_of_classes_are_those_of_the_data_that_a_lane_is_on() -> None:
    changing, other = (
        Trainer(
            Task(
                name="t",
                splits=splits,
                recipe=Recipe(batch_size=4, loss="focal", class_balance="weights"),
                change=change,
            ),
            seed=3,
        )
        for splits, change in ((SPLITS, DataChange(after=4, train=OTHER)), (replace(SPLITS, train=OTHER), None))
    )
    changing.train(4)
    other.restore(changing.snapshot())
    assert changing.fleet.losses() == other.fleet.losses()
    for trainer in (changing, other):
        trainer.train(4)
    assert same(changing, other)


def test_wrong_changes_are_refused() -> None:
    with pytest.raises(ConfigError, match="after is 0: expected a whole number from 1"):
        DataChange(after=0, train=OTHER)
    large = DataChange(after=4, train=make_shapes(ShapesConfig(size=48), seed=9, count=4))
    with pytest.raises(DataError, match="the train set at"):
        Task(name="t", splits=SPLITS, change=large)
    with pytest.raises(DataError, match="is in the train and in the val set"):
        Task(name="t", splits=SPLITS, change=DataChange(after=4, train=SPLITS.val))


def test_a_run_that_was_killed_goes_on_with_the_changed_data(tmp_path: Path) -> None:
    budget = Budget(images=16, rounds=4)
    whole = run(Trainer(task(), seed=3), Constant(), budget)
    folder = CheckpointFolder(
        folder=tmp_path, recipe=task().recipe, categories=("disc", "box", "triangle"), size=(32, 32), settings={}
    )

    def observer(lane: int, played: Any) -> None:
        if played.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Trainer(task(), seed=3), Constant(), budget, observer=observer, checkpoints=folder)
    resumed = Trainer(task(), seed=3)
    kept = Checkpoint.load(tmp_path / "last.pt")
    assert len(kept.history) == 3
    resumed.restore(kept.snapshot)
    rest = run(resumed, Constant(), budget, history=kept.history)
    assert [each.val for each in rest.history] == [each.val for each in whole.history]
    assert rest.history[-1].interval.class_loss == whole.history[-1].interval.class_loss
