"""What actions do to the knobs: doing nothing is the baseline, and everything else is what it says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from mapopt.envs.detector_training.action_forms import (
    AbsoluteAction,
    DiscreteAction,
    MultiDiscreteAction,
    RelativeAction,
)
from mapopt.envs.detector_training.actions import ACTIONS, Action, make_action
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.reactive import Plateau
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knobs import Knobs, ranges

TASK = TaskInfo(name="t", classes=2, train_images=32, batch_size=4, knobs=Knobs())
ON = replace(TASK, knobs=Knobs(step_ratio=0.01))
BUDGET = Budget(images=80, rounds=10)
INTERVAL = Interval(
    images=8,
    steps=2,
    seconds=0.0,
    class_loss=1.0,
    box_loss=1.0,
    gradient_norm=1.0,
    gradient_norm_max=1.0,
    clipped=0.0,
    update_ratio=1e-3,
    diverged=False,
)
SCORES = Scores(ap=0.1, ap50=0.2, ap75=0.05, ar100=0.3, per_category=(0.1, 0.1))


def after(history: list[Round], decision: Decision) -> list[Round]:
    last = Round(
        index=len(history),
        knobs=decision.knobs,
        ramp_from=decision.ramp_from,
        via=decision.via,
        interval=INTERVAL,
        val=SCORES,
        images=8 * (len(history) + 1),
        evaluated=0,
        seconds=0.0,
    )
    return [*history, last]


def play(action: Action, choices: list[object], task: TaskInfo = TASK) -> list[Round]:
    history: list[Round] = []
    for choice in choices:
        history = after(history, action.decide(choice, history, task, BUDGET))
    return history


def idle(action: Action) -> object:
    forms = {
        "relative": np.zeros(2),
        "moving": np.zeros(2),
        "discrete": 0,
        "multi_discrete": np.ones(2, dtype=np.int64),
    }
    return forms[form_of(action)]


def form_of(action: Action) -> str:
    return next(form for form, kind in ACTIONS.items() if isinstance(action, kind))


MOVING = Schedule(warmup=0.07, augment={0: 0.1, 0.55: 0.9}, nms_iou=((0.0, 0.6), (0.42, 0.6), (0.42, 0.4), (1.0, 0.5)))
"""A schedule that moves a knob of the action and another, inside rounds and with a jump."""


@pytest.mark.parametrize("baseline", [Schedule(), Schedule(shape="steps"), MOVING, Plateau(), Constant()], ids=repr)
@pytest.mark.parametrize("form", ["relative", "moving", "discrete", "multi_discrete"])
def test_doing_nothing_is_the_baseline_bit_for_bit(form: str, baseline: object) -> None:
    action = make_action(form, knobs=("lr", "augment"), baseline=baseline)  # type: ignore[arg-type]
    history: list[Round] = []
    for _ in range(BUDGET.rounds):
        decision = action.decide(idle(action), history, TASK, BUDGET)
        assert decision == baseline.decide(history, TASK, BUDGET)  # type: ignore[attr-defined]
        history = after(history, decision)


@pytest.mark.parametrize("form", list(ACTIONS))
def test_every_knob_can_be_turned_and_stays_in_its_range(form: str) -> None:
    action = make_action(form, knobs=tuple(ranges()))
    space = action.space_of_actions()
    space.seed(0)
    # A knob that is off cannot be multiplied.
    history = play(action, [space.sample() for _ in range(BUDGET.rounds)], ON)
    turned = {
        name for played in history for name, value in played.knobs.as_dict().items() if value != ON.knobs.get(name)
    }
    if form != "discrete":
        assert turned == set(ranges())
    assert len(turned) > 3


def test_moves_add_up_from_where_a_knob_is_and_follow_the_baseline_from_there() -> None:
    action = make_action("moving", knobs=("lr", "augment"), scale=2.0)
    history = play(action, [np.array([move, 0.0]) for move in (1.0, 1.0, 0.0, -0.5, 1.0, 1.0, 1.0)])
    factors = []
    for played in history:
        default = Schedule().decide(history[: played.index], TASK, BUDGET)
        factors.append(played.knobs.get("lr") / default.knobs.get("lr"))
        assert played.ramp_from is not None
        assert default.ramp_from is not None
        assert played.ramp_from.get("lr") / default.ramp_from.get("lr") == pytest.approx(factors[-1], rel=1e-6)
        assert played.knobs.augment == default.knobs.augment
    # A single offset could not leave a factor of 2; moves do.
    assert factors == pytest.approx([2.0, 4.0, 4.0, 2.0**1.5, 2.0**2.5, 2.0**3.5, 2.0**4.5])


def test_a_move_that_a_range_cut_off_begins_at_its_end() -> None:
    first, second = play(make_action("moving", knobs=("augment",), scale=1e9), [np.array([1.0]), np.array([-0.05])])
    assert first.knobs.augment == 1.0
    assert second.knobs.augment == pytest.approx(1.0 - 0.05 * 9 / 2)


def test_what_is_off_cannot_be_moved() -> None:
    action = make_action("moving", knobs=("step_ratio",))
    with pytest.raises(ConfigError, match="knob step_ratio is 0, which is off"):
        action.decide(np.array([1.0]), [], TASK, BUDGET)


def test_the_spaces_are_as_large_as_the_knobs_are_many() -> None:
    knobs = ("lr", "momentum", "augment")
    assert RelativeAction(knobs=knobs).space_of_actions() == Box(-1.0, 1.0, (3,), np.float32)
    assert AbsoluteAction(knobs=knobs).space_of_actions() == Box(-1.0, 1.0, (3,), np.float32)
    assert DiscreteAction(knobs=knobs).space_of_actions() == Discrete(7)
    assert MultiDiscreteAction(knobs=knobs).space_of_actions() == MultiDiscrete([3, 3, 3])


def test_a_relative_action_is_an_offset_from_the_baseline_at_both_ends_of_the_round() -> None:
    action = RelativeAction(knobs=("lr", "augment"), scale=4.0)
    default = Schedule().decide([], TASK, BUDGET)
    assert default.ramp_from is not None
    decision = action.decide([0.5, -1.0], [], TASK, BUDGET)
    assert decision.ramp_from is not None
    assert decision.knobs.lr == pytest.approx(2 * default.knobs.lr)
    assert decision.ramp_from.lr == pytest.approx(2 * default.ramp_from.lr)
    assert decision.knobs.augment == decision.ramp_from.augment < default.knobs.augment
    assert decision.knobs.replace(lr=0.2, augment=0.3) == default.knobs.replace(lr=0.2, augment=0.3)


@pytest.mark.parametrize("form", [RelativeAction, AbsoluteAction])
def test_an_action_turns_its_knobs_on_the_way_through_a_round_too(form: Any) -> None:
    baseline = Schedule(shape="steps", warmup=0.03, milestones=(0.07,))
    default = baseline.decide([], TASK, BUDGET)
    decision = form(knobs=("augment",), baseline=baseline).decide([1.0], [], TASK, BUDGET)
    assert [fraction for fraction, _ in decision.via] == pytest.approx([0.3, 0.7, 0.7])
    for (_, ours), (_, theirs) in zip(decision.via, default.via, strict=True):
        assert ours.augment == decision.knobs.augment > theirs.augment
        assert ours.replace(augment=theirs.augment) == theirs
    assert RelativeAction(knobs=("augment",), baseline=baseline).decide([0.0], [], TASK, BUDGET) == default


def test_an_absolute_action_sets_its_knobs_and_leaves_the_others_to_the_baseline() -> None:
    action = AbsoluteAction(knobs=("momentum", "box_weight"))
    default = Schedule().decide([], TASK, BUDGET)
    decision = action.decide([-1.0, 1.0], [], TASK, BUDGET)
    assert decision.ramp_from is not None
    assert default.ramp_from is not None
    for end, ours in ((default.knobs, decision.knobs), (default.ramp_from, decision.ramp_from)):
        assert ours.momentum == 0.0
        assert ours.box_weight == pytest.approx(20.0)
        assert ours.replace(momentum=0.5, box_weight=1.0) == end.replace(momentum=0.5, box_weight=1.0)
    assert AbsoluteAction(knobs=("lr",)).decide([0.2], [], TASK, BUDGET).knobs.lr == pytest.approx(
        KnobSpace(["lr"]).from_unit([0.2], Knobs()).lr
    )


@pytest.mark.parametrize("form", ["discrete", "multi_discrete"])
def test_offsets_stay_and_move_by_steps_as_a_ledger_says(form: str) -> None:
    knobs, step_size, scale = ("lr", "box_weight", "augment"), 0.25, 4.0
    action = make_action(form, knobs=knobs, step_size=step_size, scale=scale)
    rng = np.random.default_rng(1)
    history: list[Round] = []
    ledger = [0, 0, 0]
    for _ in range(BUDGET.rounds):
        moves = [0, 0, 0]
        if form == "discrete":
            choice = int(rng.integers(7))
            if choice:
                moves[(choice - 1) // 2] = -1 if choice % 2 else 1
        else:
            choice = rng.integers(0, 3, 3)
            moves = [int(move) - 1 for move in choice]
        ledger = [min(max(count + move, -4), 4) for count, move in zip(ledger, moves, strict=True)]
        # These knobs stay clear of the ends of their ranges, but for augment below 0.
        decision = action.decide(choice, history, TASK, BUDGET)
        default = Schedule().decide(history, TASK, BUDGET)
        expected = KnobSpace(knobs).shift(np.array(ledger) * step_size, default.knobs, scale=scale)
        assert decision.knobs == expected
        history = after(history, decision)
        # Where augment reached 0, only the steps down to there count.
        ledger[2] = max(ledger[2], -math.ceil(0.3 / (math.log10(scale) / 2) / step_size))


def test_offsets_end_at_the_scale_and_at_the_range() -> None:
    up = [2] * BUDGET.rounds
    history = play(DiscreteAction(knobs=("box_weight",), step_size=0.5, scale=9.0), up)
    assert [round(played.knobs.box_weight, 9) for played in history[:4]] == [3.0, 9.0, 9.0, 9.0]
    history = play(DiscreteAction(knobs=("augment",), step_size=0.5, scale=10.0), [1, 1, 1, 0, 2, 2, 2, 2, 2, 0, 1])
    values = [0.05, 0.0, 0.0, 0.0, 0.05, 0.3, 0.55, 0.8, 0.8, 0.8, 0.55]
    assert [played.knobs.augment for played in history] == pytest.approx(values)
    # The range ends within the fourth step: the third from above is the first step back.
    history = play(DiscreteAction(knobs=("augment",), step_size=0.25, scale=100.0), [2, 2, 2, 2, 0, 1])
    assert [played.knobs.augment for played in history] == pytest.approx([0.55, 0.8, 1.0, 1.0, 1.0, 0.8])


def test_steps_that_do_not_divide_the_largest_offset_end_below_it() -> None:
    action = DiscreteAction(knobs=("lr",), baseline=Constant(), scale=4.0, step_size=0.3)
    rates = [played.knobs.lr for played in play(action, [2, 2, 2, 2, 2])]
    assert rates == pytest.approx([TASK.knobs.lr * 4 ** (0.3 * count) for count in (1, 2, 3, 3, 3)])


def test_an_action_can_be_had_over_another_baseline() -> None:
    action = make_action("relative", knobs=("lr",), scale=3.0).over(Constant())
    assert action.decide([0.0], [], TASK, BUDGET) == Decision(knobs=TASK.knobs)
    assert action == RelativeAction(knobs=("lr",), scale=3.0, baseline=Constant())


@pytest.mark.parametrize(
    ("form", "given", "message"),
    [
        ("relative", [0.0], r"shape \(1,\), \[0.0\]: expected \(2,\), finite, in \[-1, 1\]"),
        ("absolute", [0.0, np.nan], "finite"),
        ("discrete", 5, "whole numbers from 0 to 4"),
        ("discrete", 0.5, "whole numbers from 0 to 4"),
        ("discrete", [1], r"of shape \(\)"),
        ("multi_discrete", [3, 0], "whole numbers from 0 to 2"),
        ("multi_discrete", [-1, 0], "whole numbers from 0 to 2"),
        ("multi_discrete", 1, r"of shape \(2,\)"),
    ],
)
def test_what_is_not_an_action_is_refused(form: str, given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_action(form, knobs=("lr", "augment")).decide(given, [], TASK, BUDGET)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown action form 'relativ': did you mean 'relative'"):
        make_action("relativ")
    with pytest.raises(ConfigError, match="scale was given for absolute actions, which have none: leave it out"):
        make_action("absolute", scale=3.0)
    with pytest.raises(ConfigError, match="step_size was given for relative actions"):
        make_action("relative", step_size=0.1)
    with pytest.raises(ConfigError, match=r"step_size is 1.5: expected more than 0 and at most 1"):
        make_action("discrete", step_size=1.5)
    with pytest.raises(ConfigError, match=r"scale is 1.0: expected a finite factor above 1"):
        make_action("discrete", scale=1.0)
    with pytest.raises(ConfigError, match="unknown knob 'lrr'"):
        make_action(knobs=("lrr",)).decide([0.0], [], TASK, BUDGET)
    with pytest.raises(ConfigError, match="knobs are lr, lr: expected at least one, each named once"):
        make_action(knobs=("lr", "lr"))
