"""The rules of a trainer hold with somebody's own loss, detector, optimizer, controller and knobs as with ours."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.training import (
    Budget,
    Checkpoint,
    CheckpointFolder,
    Constant,
    Fleet,
    Round,
    Task,
    Trainer,
    make_controller,
    run,
)
from mapopt.training.testing import check_controller, check_detector, check_optimizer

MakeTask = Callable[..., Task]
Case = tuple[Task, dict[str, float]]

CASES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "a loss with a knob": ({"loss": "hinge", "memory": 100}, {"margin": 0.0}),
    "a function as a loss": ({"loss": "distance", "ema": 0.9}, {"power": 1.5}),
    "an auxiliary loss": ({"auxiliary": {"hinge": 0.5}}, {"margin": 0.0}),
    "a detector": ({"detector": "colored", "detector_settings": {"gain": 0.9}}, {"brightness": 1.5}),
    "an optimizer": ({"optimizer": "lion", "optimizer_settings": {"scale": 0.1}}, {"sharpness": 20.0}),
    "an optimizer of torch": ({"optimizer": "torch.optim:RAdam", "knobs": {"lr": 0.01}}, {}),
    "all at once": (
        {"loss": "hinge", "detector": "colored", "optimizer": "lion", "optimizer_settings": {"scale": 0.1}},
        {"margin": 0.0, "brightness": 1.2, "sharpness": 20.0},
    ),
}
"""Fields of the recipe with own parts by their short names, and other values of the knobs that these declare."""


@pytest.fixture(params=CASES)
def case(
    request: pytest.FixtureRequest, make_task: MakeTask, own_parts: dict[str, str]
) -> tuple[Task, dict[str, float]]:
    """A task with own parts, and other values of its own knobs."""
    recipe, turned = CASES[request.param]

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {own_parts.get(name, name): inner for name, inner in value.items()}
        return own_parts.get(value, value) if isinstance(value, str) else value

    return make_task(**{field: named(value) for field, value in recipe.items()}), turned


def same(first: Trainer, second: Trainer) -> None:
    state = second.snapshot().tensors
    for name, tensor in first.snapshot().tensors.items():
        assert torch.equal(tensor, state[name]), name


def test_one_call_equals_many_with_evaluations_and_foreign_numbers_between(case: Case) -> None:
    whole, parts = Trainer(case[0], seed=1), Trainer(case[0], seed=1)
    whole.train(12 * 4)
    for _ in range(4):
        parts.train(3 * 4)
        parts.evaluate("val")
        torch.rand(7), np.random.default_rng().random(3), random.random()
    same(whole, parts)


def test_a_run_under_an_own_controller_that_is_resumed_from_disk_equals_the_unbroken_one(
    case: Case, own_parts: dict[str, str], tmp_path: Path
) -> None:
    task, budget = case[0], Budget(images=8 * 5, rounds=5)
    controller = make_controller(own_parts["climber"], {"factor": 1.2})

    def folder(name: str) -> CheckpointFolder:
        categories = ("a", "b", "c")
        return CheckpointFolder(
            folder=tmp_path / name, recipe=task.recipe, categories=categories, size=(48, 48), settings={}
        )

    class Stop(Exception):
        pass

    def stop_after_two(lane: int, played: Round) -> None:
        if played.index == 1:
            raise Stop

    unbroken = run(Trainer(task, seed=5), controller, budget, checkpoints=folder("whole"))
    with pytest.raises(Stop):
        run(Trainer(task, seed=5), controller, budget, checkpoints=folder("broken"), observer=stop_after_two)
    saved, best = (Checkpoint.load(tmp_path / "broken" / f"{name}.pt") for name in ("last", "best"))
    trainer = Trainer(Task(name="again", splits=task.splits, recipe=saved.recipe), seed=99)
    trainer.restore(saved.snapshot)
    resumed = run(trainer, controller, budget, history=saved.history, best=best.snapshot, checkpoints=folder("broken"))
    for name in ("last.pt", "best.pt"):
        first, second = (Checkpoint.load(tmp_path / place / name).snapshot for place in ("whole", "broken"))
        assert first.tensors.keys() == second.tensors.keys()
        assert all(torch.equal(tensor, second.tensors[key]) for key, tensor in first.tensors.items())
        assert first.knobs == second.knobs
    assert [played.val for played in resumed.history] == [played.val for played in unbroken.history]
    assert [played.knobs for played in resumed.history] == [played.knobs for played in unbroken.history]
    assert resumed.test is not None
    assert unbroken.test is not None
    assert np.array_equal(resumed.test.stats, unbroken.test.stats)


def test_lanes_do_not_depend_on_their_number_or_place(case: Case) -> None:
    pair, many = Fleet(case[0], [4, 9]), Fleet(case[0], [7, 9, 4])
    pair.train(8), many.train(8)
    for lane, place in ((0, 2), (1, 1)):
        for name, tensor in pair.snapshot(lane).tensors.items():
            assert torch.equal(tensor, many.snapshot(place).tensors[name]), name


def test_every_own_knob_has_an_effect_in_its_lane_alone(case: Case) -> None:
    task, turned = case
    for name, value in turned.items():
        default, other = Fleet(task, [4, 9]), Fleet(task, [4, 9])
        other.set_knobs([task.knobs, task.knobs.replace(**{name: value})])
        default.train(12), other.train(12)
        assert torch.equal(default.snapshot(0).tensors["weights"], other.snapshot(0).tensors["weights"])
        assert not torch.equal(default.snapshot(1).tensors["weights"], other.snapshot(1).tensors["weights"]), name


def test_evaluation_leaves_no_trace(case: Case) -> None:
    trainer, untouched = Trainer(case[0], seed=0), Trainer(case[0], seed=0)
    trainer.train(8), untouched.train(8)
    stream = torch.get_rng_state()
    trainer.evaluate("test")
    assert torch.equal(stream, torch.get_rng_state())
    same(trainer, untouched)


def test_a_restored_snapshot_brings_its_own_knobs_back_only_if_asked(case: Case) -> None:
    task, turned = case
    trainer = Trainer(task, seed=0)
    before = trainer.snapshot()
    trainer.set_knobs(task.knobs.replace(**turned))
    trainer.restore(before, keep_knobs=True)
    assert trainer.knobs == task.knobs.replace(**turned).settled()
    trainer.restore(before)
    assert trainer.knobs == task.knobs.settled()


def test_failure_is_a_value(case: Case) -> None:
    trainer = Trainer(case[0], seed=0)
    with torch.no_grad():
        trainer.fleet.detectors[0].weights[0] = float("nan")
    result = run(trainer, Constant(), Budget(images=32, rounds=4))
    assert (result.status, len(result.history), result.test) == ("diverged", 1, None)


def test_the_batteries_pass_own_parts(own_parts: dict[str, str]) -> None:
    check_controller(own_parts["climber"], {"factor": 1.3})
    check_optimizer(own_parts["lion"])
    check_detector(own_parts["colored"], {"gain": 0.5})
