"""Lanes whose recipes differ are in fleets of their own, which are there as long as some lane is in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.fleets import Fleets
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

SMALL = ShapesConfig(size=32, object_size=(8.0, 16.0))


def splits_of(seed: int, **changes: Any) -> Splits:
    return make_shapes_splits(ShapesConfig(**{**vars(SMALL), **changes}), seed=seed, train=4, val=2, test=2)


SPLITS = [splits_of(seed) for seed in range(3)]


def task_of(number: int = 0, **recipe: Any) -> Task:
    return Task(name=f"t{number}", splits=SPLITS[number], recipe=Recipe(batch_size=2, **recipe))


def test_lanes_are_together_where_their_tasks_are_alike() -> None:
    fleets = Fleets(4)
    large = Task(name="large", splits=splits_of(0, size=48), recipe=Recipe(batch_size=2))
    tasks = [task_of(0), task_of(1), task_of(2, clip=3.0), large]
    fleets.reset({lane: (lane, task) for lane, task in enumerate(tasks)})
    assert [fleets.of(lane)[1] for lane in range(4)] == [0, 1, 2, 3]
    assert [sorted(members.values()) for _, members in fleets.groups(range(4))] == [[0, 1], [2], [3]]
    assert [fleet.tasks[place] for fleet, place in map(fleets.of, range(4))] == tasks
    assert [members for _, members in fleets.groups([2, 1])] == [{2: 2}, {1: 1}]


def test_a_lane_among_others_is_the_lane_by_itself() -> None:
    fleets = Fleets(3)
    tasks = [task_of(0, optimizer="sgd"), task_of(1), task_of(2, optimizer="sgd")]
    fleets.reset({lane: (lane + 5, task) for lane, task in enumerate(tasks)})
    for fleet, members in fleets.groups(range(3)):
        fleet.train(4, active=[place in members for place in range(3)])
    for lane, task in enumerate(tasks):
        alone = Trainer(task, seed=lane + 5)
        alone.train(4)
        fleet, place = fleets.of(lane)
        theirs = alone.snapshot().tensors
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in fleet.snapshot(place).tensors.items())


def test_a_fleet_that_no_lane_is_in_goes_and_a_lane_leaves_no_images_behind() -> None:
    fleets = Fleets(2)
    fleets.reset({0: (0, task_of(0)), 1: (1, task_of(1))})
    (first,) = fleets.all
    fleets.reset({0: (0, task_of(2, clip=3.0))})
    assert len(fleets.all) == 2
    assert [task.splits for task in first.tasks] == [SPLITS[1], SPLITS[1]]
    fleets.reset({1: (0, task_of(2, clip=3.0))})
    assert len(fleets.all) == 1
    assert first not in fleets.all
    fleets.reset({0: (7, task_of(0)), 1: (8, task_of(0, clip=3.0))})
    assert len(fleets.all) == 2


class Alone(torch.nn.Module):
    """A detector whose lanes train in turn."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scores = torch.nn.Linear(3, num_classes)

    def forward(self, images: Any, targets: Any = None) -> Any:
        raise NotImplementedError


def test_lanes_of_a_detector_that_trains_one_at_a_time_have_a_fleet_each() -> None:
    fleets = Fleets(3)
    resnet = task_of(0, detector=f"{__name__}:Alone", loss="torchvision")
    fleets.reset({0: (0, resnet), 1: (1, task_of(1)), 2: (2, resnet)})
    assert [fleet.lanes for fleet, _ in map(fleets.of, range(3))] == [1, 3, 1]
    assert fleets.of(0)[0] is not fleets.of(2)[0]
    mine = fleets.of(0)[0]
    fleets.reset({0: (3, resnet)})
    assert fleets.of(0)[0] is mine


def test_a_task_that_cannot_be_trained_changes_nothing() -> None:
    fleets = Fleets(2)
    fleets.reset({0: (0, task_of(0)), 1: (1, task_of(1))})
    before = [fleets.of(lane) for lane in range(2)]
    with pytest.raises(ConfigError, match="which evaluates an average of its own"):
        fleets.reset({0: (0, task_of(2)), 1: (0, task_of(0, optimizer="dog", frozen="stem"))})
    assert [fleets.of(lane) for lane in range(2)] == before
    assert before[0][0].tasks[0].name == "t0"
    assert len(fleets.all) == 1


def test_a_state_is_held_against_the_lane_that_it_would_go_into() -> None:
    fleets = Fleets(1)
    sgd, muon = task_of(0, optimizer="sgd"), task_of(0)
    state = Fleet(sgd, [3]).snapshot(0)
    fleets.check(0, sgd, state)
    with pytest.raises(CheckpointError, match="does not fit the detector 'tiny'"):
        fleets.check(0, muon, state)
    with pytest.raises(ConfigError, match="lane 0 was never reset"):
        fleets.of(0)
