"""Sets on a device: kept as long as they may be needed, and evaluated for the lanes that are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.training.device_sets import DeviceSets
from mapopt.training.fleet import Fleet
from mapopt.training.task import Recipe, Task


@pytest.fixture(scope="module")
def many() -> list[Splits]:
    return [make_shapes_splits(ShapesConfig(), seed=seed, train=4, tune=2, test=6) for seed in range(4)]


def test_a_set_is_made_once_and_kept_while_it_is_in_use(many: list[Splits]) -> None:
    sets = DeviceSets(torch.device("cpu"), spare=0)
    train = sets.get(many[0], "train")
    sets.let_go([many[0]])
    assert sets.get(many[0], "train") is train
    sets.let_go([many[1]])
    assert len(sets) == 0


def test_what_was_let_go_longest_ago_is_forgotten_first(many: list[Splits]) -> None:
    room = 2 * many[0].train.pixels.nbytes
    sets = DeviceSets(torch.device("cpu"), spare=room)
    first = {number: sets.get(many[number], "train") for number in range(4)}
    sets.let_go([many[0]])
    assert len(sets) == 3
    assert sets.get(many[3], "train") is first[3]
    assert sets.get(many[0], "train") is first[0]
    assert sets.get(many[1], "train") is not first[1]


def test_some_lanes_are_evaluated_as_all_are_bit_for_bit(many: list[Splits]) -> None:
    tasks = [Task(name="t", splits=one, recipe=Recipe(batch_size=4, ema=0.5)) for one in many]
    fleet = Fleet(tasks, [0, 1, 2, 3])
    fleet.train(16)
    before = fleet.snapshot(2)
    everyone = fleet.evaluate("test")
    for lanes in ([1], [0, 3], [1, 2, 3]):
        for lane, report in zip(lanes, fleet.evaluate("test", lanes=lanes), strict=True):
            assert np.array_equal(report.precision, everyone[lane].precision)
    found, [alone] = fleet.detect("test"), fleet._engines[0].detect("test", lanes=[1])
    assert np.array_equal(alone.scores, found[1].scores)
    assert np.array_equal(alone.boxes, found[1].boxes)
    for name, tensor in fleet.snapshot(2).tensors.items():
        assert torch.equal(tensor, before.tensors[name])
    assert fleet.evaluate("test", lanes=[]) == []
