"""Knobs that a schedule moves over a run: what it says is what every step has, and what it cannot mean is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mapopt
from mapopt.errors import ConfigError
from mapopt.training import Task, Trainer, run
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.controllers.reactive import Patience
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs, Range, ranges
from mapopt.training.steps import StepPlan
from mapopt.training.testing import check_controller

CPU = torch.device("cpu")
TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(assign_iou=0.3))
LATE = {0: 0, 0.7: 0, 0.75: 1}
JUMP = ((0.0, 0.6), (0.62, 0.6), (0.62, 0.4), (1.0, 0.3))


def decisions(schedule: Schedule, *, rounds: int, task: TaskInfo = TASK) -> list[Decision]:
    """What a schedule decides of the rounds of a run; it looks at their number alone."""
    interval = Interval(
        images=28, steps=7, seconds=1.0, class_loss=1.0, box_loss=1.0, gradient_norm=1.0, gradient_norm_max=1.0,
        clipped=0.0, update_ratio=1e-3, diverged=False,
    )  # fmt: skip
    scores = Scores(ap=0.1, ap50=0.1, ap75=0.1, ar100=0.1, per_category=(0.1, 0.1))
    played = Round(
        index=0, knobs=task.knobs, ramp_from=None, interval=interval, val=scores, images=28, evaluated=1, seconds=1.0
    )  # fmt: skip
    budget = Budget(images=28 * rounds, rounds=rounds)
    return [schedule.decide([played] * number, task, budget) for number in range(rounds)]


def at_every_step(schedule: Schedule, name: str, *, rounds: int = 10) -> np.ndarray:
    """A knob's value at each of 7 steps of every round."""
    plans = [
        StepPlan([made.knobs], [made.ramp_from], [made.via], images=28, batch_size=4, device=CPU).per_image(name)[0]
        for made in decisions(schedule, rounds=rounds)
    ]
    return np.concatenate(plans)[::4]


def middles(rounds: int = 10) -> np.ndarray:
    return (np.arange(7 * rounds) + 0.5) / (7 * rounds)


@pytest.mark.parametrize("rounds", [1, 3, 10, 20])
@pytest.mark.parametrize("name", ["assign_iou", "augment", "nms_iou", "momentum"])
def test_two_values_are_a_straight_line_over_the_run(name: str, rounds: int) -> None:
    values = at_every_step(Schedule(**{name: (0.25, 0.45)}), name, rounds=rounds)  # type: ignore[arg-type]
    np.testing.assert_allclose(values, 0.25 + 0.2 * middles(rounds), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 3, 10, 20])
def test_points_are_passed_where_they_are_whatever_the_rounds(rounds: int) -> None:
    schedule = Schedule(surrogate_weight=LATE, box_weight=((0.1, 4), (0.33, 1), (0.9, 2)))
    values = at_every_step(schedule, "surrogate_weight", rounds=rounds)
    np.testing.assert_allclose(values, np.interp(middles(rounds), [0, 0.7, 0.75, 1], [0, 0, 1, 1]), rtol=0, atol=1e-12)
    values = at_every_step(schedule, "box_weight", rounds=rounds)
    expected = np.interp(middles(rounds), [0.1, 0.33, 0.9], [4, 1, 2])  # a logarithmic knob, linear; held outside
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", [3, 10, 50])
def test_two_points_at_one_place_are_a_jump(rounds: int) -> None:
    values = at_every_step(Schedule(nms_iou=JUMP), "nms_iou", rounds=rounds)
    at = middles(rounds)
    expected = np.where(at < 0.62, 0.6, 0.4 - 0.1 * (at - 0.62) / 0.38)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_points_that_are_the_same_but_for_rounding_are_one() -> None:
    schedule = Schedule(warmup=0.0, nms_iou=((0.0, 0.6), (0.35, 0.6), (0.35, 0.4)), augment={0: 0, 0.35 + 1e-12: 1})
    assert [len(made.via) for made in decisions(schedule, rounds=10)] == [0, 0, 0, 2, *[0] * 6]


def test_the_learning_rate_is_what_it_would_be_where_other_knobs_move() -> None:
    plain = Schedule(shape="steps", warmup=0.03, milestones=(0.55,))
    moving = replace(plain, surrogate_weight=LATE, nms_iou=JUMP)
    np.testing.assert_allclose(at_every_step(moving, "lr"), at_every_step(plain, "lr"), rtol=0, atol=1e-12)


def test_a_schedule_that_moves_nothing_decides_as_before() -> None:
    assert Schedule(assign_iou=()) == Schedule()
    assert Schedule().moves == {}
    for made in decisions(Schedule(), rounds=20):
        assert made.knobs.replace(lr=0.2) == TASK.knobs
        assert made.via == ()


def test_an_assignment_that_nobody_sets_becomes_stricter() -> None:
    left_open = replace(TASK, knobs=Knobs())
    assert left_open.knobs.assign_iou is None
    values = [made.knobs.assign_iou for made in decisions(Schedule(), rounds=3, task=left_open)]
    assert values == pytest.approx([0.35, 0.45, 0.55])
    assert decisions(Schedule(), rounds=3, task=left_open)[0].ramp_from.assign_iou == 0.25  # type: ignore[union-attr]
    assert {made.knobs.assign_iou for made in decisions(Schedule(), rounds=3)} == {0.3}, "set as a knob"
    moved = decisions(Schedule(assign_iou=(0.1, 0.4)), rounds=3, task=left_open)
    assert [made.knobs.assign_iou for made in moved] == pytest.approx([0.2, 0.3, 0.4])


def test_it_stays_where_no_schedule_moves_it(make_task: Callable[..., Task]) -> None:
    task = make_task()
    assert task.knobs.assign_iou is None
    played = run(Trainer(task), Constant(), Budget(images=8, rounds=1)).history[0]
    assert played.knobs.assign_iou == 0.4
    moved = run(Trainer(task), Schedule(), Budget(images=16, rounds=2)).history
    assert [played.knobs.assign_iou for played in moved] == pytest.approx([0.4, 0.55])


def test_rounds_meet_at_their_ends_but_where_a_knob_jumps_there() -> None:
    made = decisions(Schedule(assign_iou=(0.25, 0.45), nms_iou=JUMP), rounds=10)
    assert all(first.knobs == second.ramp_from for first, second in itertools.pairwise(made))
    jumping = decisions(Schedule(warmup=0.0, nms_iou=((0.0, 0.6), (0.5, 0.6), (0.5, 0.4), (1.0, 0.4))), rounds=10)
    assert [made.knobs.nms_iou for made in jumping] == [0.6] * 5 + [0.4] * 5, "a round ends with the value before"
    assert not any(made.via for made in jumping)


def test_the_batch_of_a_round_is_that_of_its_end() -> None:
    half = Schedule(batch_fraction=((0.0, 0.25), (0.5, 0.25), (0.5, 1.0), (1.0, 1.0)))
    sizes = [
        StepPlan([made.knobs], [made.ramp_from], [made.via], images=32, batch_size=16, device=CPU).sizes
        for made in decisions(half, rounds=4)
    ]
    assert sizes == [[4], [4], [16], [16]]


def test_every_knob_of_ours_but_the_learning_rate_can_be_moved() -> None:
    names = [name for name in KnobMoves.__dataclass_fields__ if name != "own"]
    assert names == [name for name in ranges() if name != "lr"]
    for name in names:
        low, high = ranges()[name].low, ranges()[name].high
        made = decisions(Schedule(**{name: (low, high)}), rounds=2)  # type: ignore[arg-type]
        assert made[0].ramp_from is not None
        assert [made[0].ramp_from.get(name), made[1].knobs.get(name)] == [low, high]


def test_own_knobs_are_moved_like_ours() -> None:
    own = Knobs(own={"margin": 0.5})
    task = replace(TASK, knobs=own, ranges={**ranges(), "margin": Range(0.0, 2.0)})
    made = decisions(Schedule(own={"margin": {0: 0, 0.5: 2}}), rounds=2, task=task)
    assert [decision.knobs.get("margin") for decision in made] == [2.0, 2.0]
    assert made[0].ramp_from is not None
    assert made[0].ramp_from.get("margin") == 0.0
    check_controller(Schedule(own={}, assign_iou=(0.25, 0.45), surrogate_weight=LATE, nms_iou=JUMP))


def test_own_knobs_that_a_task_has_not_are_named() -> None:
    schedule = Schedule(own={"margin": (0.0, 3.0)})
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        schedule.decide([], TASK, Budget(images=10, rounds=10))
    with pytest.raises(ConfigError, match="the schedule moves knob margin to 3: expected 0 to 2"):
        Patience(controller=schedule).check_knobs({**ranges(), "margin": Range(0.0, 2.0)})


def test_own_knobs_of_another_recipe_are_named_before_anything_is_written(tmp_path: Path) -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu", "patience": 3}
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        mapopt.train(out=tmp_path / "run", schedule={"own": {"margin": (0.1, 0.5)}}, **tiny)  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_moves_are_trained_with(own_parts: dict[str, str]) -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu", "loss": own_parts["hinge"]}
    schedule = {"assign_iou": (0.1, 0.8), "own": {"margin": {0.4: 0.5, 0.6: 4.0}}}
    moved = mapopt.train(schedule=schedule, **tiny)  # type: ignore[arg-type]
    still = mapopt.train(**tiny)  # type: ignore[arg-type]
    assert [played.knobs.get("margin") for played in moved.history] == pytest.approx([2.25, 4.0])
    assert [played.knobs.assign_iou for played in moved.history] == pytest.approx([0.45, 0.8])
    assert moved.history[1].interval.class_loss > 1.5 * still.history[1].interval.class_loss


def test_a_schedule_in_hand_is_a_setting_of_train() -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu"}
    run = mapopt.train(controller=Schedule(assign_iou=(0.1, 0.8)), **tiny)  # type: ignore[arg-type]
    assert [played.knobs.assign_iou for played in run.history] == pytest.approx([0.45, 0.8])
