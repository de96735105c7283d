"""Copies of a trainer train on as the trainer does, though a large detector's gradients arrive by hooks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.dense.rows import Row
from mapopt.detectors.module import ModuleDetector
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.training import Recipe, Task, Trainer


def pickled(thing: object) -> object:
    return pickle.loads(pickle.dumps(thing))


RECIPES = {
    "resnet18": Recipe(detector="resnet18", batch_size=2),
    "ssdlite": Recipe(detector="ssdlite", detector_settings={"dropout": 0.3}, loss="rank_sort", batch_size=2, ema=0.9),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_a_copy_trains_on_with_the_same_bits(duplicate: Callable[[Trainer], Trainer], name: str) -> None:
    splits = make_shapes_splits(ShapesConfig(size=32), seed=3, train=4, val=2, test=2)
    trainer = Trainer(Task(name="few", splits=splits, recipe=RECIPES[name]), 1)
    trainer.train(2)
    other = duplicate(trainer)
    trainer.train(2), other.train(2)
    assert torch.equal(trainer.snapshot().tensors["weights"], other.snapshot().tensors["weights"])


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(16)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_a_copy_of_a_module_has_weights_of_its_own(duplicate: Callable[[object], ModuleDetector]) -> None:
    detector = ModuleDetector(Small, Objective(loss=OWN_LOSS), classes=3)
    other = duplicate(detector)
    with torch.no_grad():
        other.weights += 1
    assert torch.equal(Row(other.model).join(other.model), other.weights[0])
    assert torch.equal(other.weights, detector.weights + 1)
    other.model.layers[0](torch.ones(64)).sum().backward()
    assert other.gradient().any()
    assert not detector.gradient().any()


def test_a_pickled_module_has_its_weights_but_twice() -> None:
    detector = ModuleDetector(Small, Objective(loss=OWN_LOSS), classes=3)
    # The weights, the module's, and the mask of the decay.
    assert len(pickle.dumps(detector)) < 3.5 * 4 * detector.weights.numel() + 50_000
