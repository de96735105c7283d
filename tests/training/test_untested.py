"""Runs that leave the test split alone, as those of a search do, are otherwise the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Constant
from mapopt.training.fleet import Fleet
from mapopt.training.history import Round
from mapopt.training.loop import run_fleet
from mapopt.training.task import Task

BUDGET = Budget(images=8, rounds=2)


def timeless(history: tuple[Round, ...]) -> list[Round]:
    still = [replace(played.interval, seconds=0.0, processor_seconds=0.0) for played in history]
    return [
        replace(played, interval=interval, seconds=0.0, processor_seconds=0.0)
        for played, interval in zip(history, still, strict=True)
    ]


def test_the_test_split_is_not_read_and_nothing_else_changes(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = run_fleet(Fleet(make_task(), [0, 1]), [Constant()] * 2, BUDGET)
    assert all(result.test is not None for result in tested)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(Fleet, "evaluate", refuse)
    left_alone = run_fleet(Fleet(make_task(), [0, 1]), [Constant()] * 2, BUDGET, tested=False)
    for result, same in zip(left_alone, tested, strict=True):
        assert result.test is None
        assert timeless(result.history) == timeless(same.history)
        assert (result.status, result.selected, result.val) == (same.status, same.selected, same.val)
