"""What is compiled once is compiled before the first run: it is charged to none, and changes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mapopt.experiments.comparison import warm_up as module
from mapopt.experiments.comparison.warm_up import warm_up
from mapopt.training import Fleet, Recipe, Task


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> list[Fleet]:
    """The fleets that are made to warm up."""
    module._once.cache_clear()
    made: list[Fleet] = []

    def make(*arguments: Any, **named: Any) -> Fleet:
        made.append(Fleet(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(module, "Fleet", make)
    return made


def test_every_recipe_is_warmed_up_once(fleets: list[Fleet]) -> None:
    for recipe in (Recipe(batch_size=4), Recipe(batch_size=4), Recipe(batch_size=4, loss="rank_sort")):
        warm_up(recipe, "cpu")
    assert [fleet.tasks[0].recipe.loss for fleet in fleets] == ["mal", "rank_sort"]
    assert [fleet.snapshot(0).seen for fleet in fleets] == [4, 4]


def test_large_detectors_and_parts_of_somebodys_own_are_left_alone(fleets: list[Fleet]) -> None:
    for recipe in (Recipe(detector="resnet18"), Recipe(optimizer="torch.optim:RAdam"), Recipe(detector="nowhere:Mine")):
        warm_up(recipe, "cpu")
    assert not fleets


def test_a_run_is_the_same_after_it(make_task: Callable[..., Task]) -> None:
    module._once.cache_clear()
    losses = []
    for warmed in (False, True):
        task = make_task(loss="rank_sort")
        if warmed:
            warm_up(task.recipe, "cpu")
        losses.append([played.class_loss for played in Fleet(task, [0, 1]).train(8)])
    assert losses[0] == losses[1]
