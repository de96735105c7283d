"""Controllers on made-up histories: what they decide, and that they decide it from the history alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Constant, Replay, Schedule
from mapopt.training.controllers.reactive import Patience, Plateau
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.steps import StepPlan

CPU = torch.device("cpu")
TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1, assign_iou=0.3))
BUDGET = Budget(images=400, rounds=20)
INTERVAL = Interval(
    images=20, steps=5, seconds=1.0, class_loss=1.0, box_loss=1.0, gradient_norm=1.0, gradient_norm_max=2.0,
    clipped=0.0, update_ratio=1e-3, diverged=False,
)  # fmt: skip


def history(aps: Sequence[float]) -> list[Round]:
    return [
        Round(
            index=index, knobs=Knobs(lr=0.1 + index / 100), ramp_from=None, interval=INTERVAL, images=20 * (index + 1),
            val=Scores(ap=ap, ap50=ap, ap75=ap, ar100=ap, per_category=(ap, ap)), evaluated=10, seconds=1.0,
        )
        for index, ap in enumerate(aps)
    ]  # fmt: skip


def test_constant_keeps_the_tasks_knobs() -> None:
    assert Constant().decide(history([0.1, 0.0]), TASK, BUDGET).knobs == TASK.knobs


def test_cosine_warms_up_and_ends_at_its_final_fraction() -> None:
    schedule = Schedule(warmup=0.1, warmup_from=0.2, final=0.05)
    assert schedule.fraction(0.0) == pytest.approx(0.2)
    assert schedule.fraction(0.05) == pytest.approx(0.6)
    assert schedule.fraction(0.1) == pytest.approx(1.0)
    assert schedule.fraction(0.55) == pytest.approx(0.05 + 0.95 * (1 + math.cos(math.pi / 2)) / 2)
    assert schedule.fraction(1.0) == pytest.approx(0.05)


def test_a_restart_begins_again_after_the_first_cosine_has_ended() -> None:
    schedule = Schedule(warmup=0.1, final=0.05, restart=0.6, restart_fraction=0.2)
    assert schedule.fraction(0.35) == pytest.approx(0.05 + 0.95 / 2)
    assert schedule.fraction_before(0.6) == pytest.approx(0.05)
    assert schedule.fraction(0.6) == pytest.approx(0.2)
    assert schedule.fraction(0.8) == schedule.fraction_before(0.8) == pytest.approx(0.1)
    assert schedule.fraction(1.0) == pytest.approx(0.0)


@pytest.mark.parametrize("shape", ["cosine", "steps", "constant"])
@pytest.mark.parametrize("restart", [0.7, 0.7 + 1 / 70, 0.765])
def test_a_restart_jumps_where_it_says_at_every_step(shape: Any, restart: float) -> None:
    schedule = Schedule(shape=shape, warmup=0.1, milestones=(0.3, 0.9), restart=restart, restart_fraction=0.5)
    rates = at_every_step(schedule)
    knots = [0.0, 0.1, *(number / 10 for number in range(1, 11))]
    for at, rate in zip(middles(), rates / 0.1, strict=True):
        if shape == "cosine":
            inside = sorted({*(knot for knot in knots if (knot < restart) == (at < restart)), restart})
            values = [schedule.fraction(knot) if at > restart else schedule.fraction_before(knot) for knot in inside]
            floor = ranges()["lr"].low / 0.1
            expected = float(np.interp(at, inside, np.maximum(values, floor)))
        elif at > restart:
            expected = 0.5
        else:
            expected = min(1.0, 0.1 + 9 * at) * (0.1 if shape == "steps" and at > 0.3 else 1.0)
        assert rate == pytest.approx(expected, abs=1e-12), at


def test_a_restart_inside_the_warm_up_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"restart is 0.1 with a warmup of 0.2: expected a fraction .* after"):
        Schedule(warmup=0.2, restart=0.1)


def test_rounds_of_a_schedule_meet_at_their_ends() -> None:
    played: list[Round] = []
    end = None
    for _ in range(BUDGET.rounds):
        decision = Schedule().decide(played, TASK, BUDGET)
        if end is not None:
            assert decision.ramp_from == end
        end = decision.knobs
        played = history([0.1] * (len(played) + 1))


def test_steps_divide_the_learning_rate_at_their_milestones() -> None:
    schedule = Schedule(shape="steps", warmup=0.0, milestones=(0.5, 0.75), factor=0.1)
    rates = [schedule.decide(history([0.1] * played), TASK, BUDGET).knobs.lr for played in range(20)]
    assert rates == pytest.approx([0.1] * 10 + [0.01] * 5 + [0.001] * 5)


def decisions(controller: Controller, budget: Budget) -> list[Decision]:
    return [controller.decide(history([0.1] * played), TASK, budget) for played in range(budget.rounds)]


def at_every_step(controller: Controller, *, rounds: int = 10, steps: int = 7) -> np.ndarray:
    """The learning rate of every step of a run, float64."""
    made = decisions(controller, Budget(images=4 * steps * rounds, rounds=rounds))
    plans = [
        StepPlan(
            [decision.knobs], [decision.ramp_from], [decision.via], images=4 * steps, batch_size=4, device=CPU
        ).per_image("lr")[0]
        for decision in made
    ]
    return np.concatenate(plans)[::4]


def middles(*, rounds: int = 10, steps: int = 7) -> np.ndarray:
    """Fractions of the budget in the middle of every step."""
    return (np.arange(rounds * steps) + 0.5) / (rounds * steps)


@pytest.mark.parametrize("warmup_rounds", [0, 0.02, 0.3, 1, 1.5, 2 + 3 / 7, 3, 9.99, 10])
def test_a_warm_up_ends_where_it_says_at_every_step(warmup_rounds: float) -> None:
    warmup = warmup_rounds / 10
    rates = at_every_step(Schedule(shape="constant", warmup=warmup, warmup_from=0.2))
    expected = [0.2 + 0.8 * at / warmup if at < warmup else 1.0 for at in middles()]
    np.testing.assert_allclose(rates, 0.1 * np.array(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("warmup", "milestones"),
    [
        (0.03, (0.55, 0.85)),
        (0.15, (0.151, 0.158, 0.7)),  # two in the round in which the warm-up ends
        (0.33, (0.2, 0.33, 0.9)),  # one that the warm-up is not over at, and one where it ends
        (0.0, (0.35, 0.35 + 1e-12, 0.6)),  # twice the same, one with a rounding error
        (0.0, (0.85, 0.25)),  # in any order
        (0.2, (0.5 + 0.5 / 70, 1.0)),  # in the middle of a step
    ],
)
def test_steps_fall_where_they_say_at_every_step(warmup: float, milestones: tuple[float, ...]) -> None:
    rates = at_every_step(Schedule(shape="steps", warmup=warmup, milestones=milestones, factor=0.5))
    passed = [sum(at >= milestone - 1e-9 for milestone in milestones) for at in middles()]
    expected = [
        0.1 + 0.9 * at / warmup if at < warmup else 0.5**count for at, count in zip(middles(), passed, strict=True)
    ]
    np.testing.assert_allclose(rates, 0.1 * np.array(expected), rtol=0, atol=1e-12)


def test_cosine_is_a_line_between_its_values_at_the_rounds_ends_and_where_the_warm_up_ends() -> None:
    schedule = Schedule(warmup=0.03, final=0.05)
    rates = at_every_step(schedule)
    knots = [0.0, 0.03, *(number / 10 for number in range(1, 11))]
    expected = np.interp(middles(), knots, [schedule.fraction(knot) for knot in knots])
    np.testing.assert_allclose(rates, 0.1 * expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", [20, 10, 7])
@pytest.mark.parametrize("shape", ["cosine", "steps", "constant"])
def test_bends_at_the_ends_of_rounds_are_no_points_inside_them(rounds: int, shape: Any) -> None:
    for ends in range(1, rounds):
        schedule = Schedule(shape=shape, warmup=ends / rounds, milestones=((ends + 1) / rounds, 1 - 1 / rounds))
        assert not any(decision.via for decision in decisions(schedule, Budget(images=rounds, rounds=rounds)))


def test_rounds_meet_at_their_ends_with_bends_inside() -> None:
    made = decisions(Schedule(warmup=0.07), Budget(images=20, rounds=10))
    assert [len(decision.via) for decision in made] == [1] + [0] * 9
    assert all(first.knobs == second.ramp_from for first, second in itertools.pairwise(made))


def test_a_plateau_warms_up_as_a_schedule_does() -> None:
    plateau, schedule = Plateau(warmup=0.25, rounds=1, factor=0.5), Schedule(shape="constant", warmup=0.25)
    rises, stalls = history([0.1, 0.2]), history([0.1, 0.1])
    whole = schedule.decide(rises, TASK, Budget(images=10, rounds=10))
    assert [fraction for fraction, _ in whole.via] == pytest.approx([0.5])
    assert plateau.decide(rises, TASK, Budget(images=10, rounds=10)) == whole
    lowered = plateau.decide(stalls, TASK, Budget(images=10, rounds=10))
    assert [knobs.lr for _, knobs in lowered.via] == pytest.approx([0.05])


def test_patience_leaves_a_decision_as_it_is_but_for_the_stop() -> None:
    inner = Schedule(warmup=0.37)
    decision = Patience(controller=inner, rounds=1).decide(history([0.3, 0.2, 0.1]), TASK, Budget(images=10, rounds=10))
    assert decision.stop
    assert replace(decision, stop="") == inner.decide(history([0.3, 0.2, 0.1]), TASK, Budget(images=10, rounds=10))
    assert decision.via


def test_a_plateau_lowers_the_learning_rate_only_when_val_ap_stalls() -> None:
    plateau = Plateau(rounds=2, factor=0.5, margin=0.0, warmup=0.0)

    def rate(aps: Sequence[float]) -> float:
        return plateau.decide(history(aps), TASK, BUDGET).knobs.lr

    assert rate([0.1, 0.2, 0.3]) == pytest.approx(0.1)
    assert rate([0.3, 0.2]) == pytest.approx(0.1)
    assert rate([0.3, 0.2, 0.1]) == pytest.approx(0.05)
    assert rate([0.3, 0.2, 0.1, 0.4]) == pytest.approx(0.05)
    assert rate([0.3, 0.2, 0.1, 0.1, 0.1]) == pytest.approx(0.025)


def test_patience_stops_after_its_rounds_and_says_why() -> None:
    patient = Patience(controller=Constant(), rounds=2)
    assert patient.decide(history([0.1, 0.3, 0.2]), TASK, BUDGET).stop == ""
    assert "not risen above 0.3000 for 2 rounds" in patient.decide(history([0.1, 0.3, 0.2, 0.3]), TASK, BUDGET).stop


def test_a_rise_within_the_margin_is_no_rise() -> None:
    small = [0.3, 0.305, 0.308]
    assert Patience(controller=Constant(), rounds=2, margin=0.01).decide(history(small), TASK, BUDGET).stop
    assert not Patience(controller=Constant(), rounds=2).decide(history(small), TASK, BUDGET).stop
    rates = [
        Plateau(rounds=2, factor=0.5, margin=margin, warmup=0.0).decide(history(small), TASK, BUDGET).knobs.lr
        for margin in (0.01, 0.0)
    ]
    assert rates == pytest.approx([0.05, 0.1])


def test_steps_that_begin_where_the_warm_up_ends_stay_constant_within_a_round() -> None:
    schedule = Schedule(shape="steps", warmup=0.5, milestones=(0.55,), factor=0.1)
    decision = schedule.decide(history([0.1] * 10), TASK, BUDGET)
    assert decision.ramp_from is not None
    assert [decision.ramp_from.lr, decision.knobs.lr] == pytest.approx([0.1, 0.1])


def test_a_replay_repeats_the_knobs_whatever_the_history() -> None:
    replay = Replay.of(history([0.1, 0.2, 0.3]))
    assert replay.decide(history([0.9]), TASK, BUDGET).knobs == Knobs(lr=0.11)
    with pytest.raises(ConfigError, match="round 4 was asked of a replay of 3 rounds"):
        replay.decide(history([0.1] * 3), TASK, BUDGET)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(warmup=1.5), "warmup is 1.5: expected 0 to 1"),
        (lambda: Schedule(shape="zigzag"), "expected cosine, steps or constant"),  # type: ignore[arg-type]
        (lambda: Schedule(milestones=(2.0,)), "milestones is 2.0"),
        (lambda: Plateau(rounds=0), "rounds is 0"),
        (lambda: Budget(images=100, rounds=3), "images that divide by the rounds"),
        (lambda: Budget(images=100, rounds=10).check(16), "choose 160 images"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
