"""A run whose first round has a gradient of exactly 0 learns nothing, and stops with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from mapopt.data import Splits
from mapopt.errors import DataError
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Constant
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.loop import run, run_fleet
from mapopt.training.task import Task

BUDGET = Budget(images=8, rounds=2)


def with_small_objects(splits: Splits) -> Splits:
    """Returns the splits with objects of less than a pixel to train on."""
    notes = splits.train.annotations
    small = dataclasses.replace(notes, boxes=notes.boxes * 0.01)
    return dataclasses.replace(splits, train=dataclasses.replace(splits.train, annotations=small))


def test_objects_too_small_to_be_assigned_are_the_reason(make_task: Callable[..., Task]) -> None:
    task = make_task()
    small = dataclasses.replace(task, splits=with_small_objects(task.splits))
    with pytest.raises(DataError) as stopped:
        run(Trainer(small), Constant(), BUDGET)
    said = str(stopped.value)
    assert said.startswith("small: the gradient of the first round was exactly 0: no object is large enough to be ")
    assert "assigned; the largest is 0." in said
    assert said.endswith("pixels in an image of 48 x 48. Check the boxes and --size, or the loss.")
    with pytest.raises(DataError, match="no object is large enough"):
        run_fleet(Fleet([task, small], [0, 1]), [Constant()] * 2, BUDGET)


def test_a_loss_that_no_weight_decides_is_the_reason(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_task())
    detector = trainer.fleet.detectors[0]

    def constant(*_: object, **__: object) -> dict[str, torch.Tensor]:
        nothing = detector.weights.sum(1) * 0
        return {"class": nothing + 1, "box": nothing}

    monkeypatch.setattr(detector, "losses", constant)
    with pytest.raises(DataError, match=r"exactly 0: the losses do not depend on the weights\. Check"):
        run(trainer, Constant(), BUDGET)
