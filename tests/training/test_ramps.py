"""The way of the knobs through a round: bends, jumps, and points that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training.controllers.base import Decision
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.knobs import Knobs, blend
from mapopt.training.ramps import knobs_at, points_of
from mapopt.training.steps import StepPlan
from mapopt.training.task import Task

LOW, HIGH = Knobs(lr=0.1, augment=0.2), Knobs(lr=0.3, augment=0.6)
CPU = torch.device("cpu")


def rate(points: Any, fraction: float) -> float:
    return knobs_at(points, fraction).lr


def test_between_two_points_knobs_move_linearly() -> None:
    points = points_of(LOW, ((0.25, HIGH), (0.75, LOW)), HIGH)
    fractions = (0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0)
    assert [rate(points, at) for at in fractions] == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3])
    assert knobs_at(points, 0.125).augment == pytest.approx(0.4)


def test_at_a_jump_knobs_are_those_after_it_however_its_place_was_rounded() -> None:
    points = points_of(LOW, ((0.3, LOW), (0.3, HIGH)), HIGH)
    assert [rate(points, at) for at in (0.29, 0.3 - 1e-15, 0.3, 0.31)] == [0.1, 0.3, 0.3, 0.3]


def test_without_a_point_on_the_way_it_is_one_straight_line_bit_for_bit() -> None:
    points = points_of(LOW, (), HIGH)
    for step in range(7):
        fraction = (step + 0.5) / 7
        assert knobs_at(points, fraction) == blend(LOW, HIGH, fraction)
    assert knobs_at(points_of(None, (), HIGH), 0.4) == HIGH


def test_every_lane_has_a_way_of_its_own() -> None:
    plan = StepPlan([HIGH] * 3, [LOW, LOW, None], [((0.5, LOW),), (), ()], images=16, batch_size=4, device=CPU)
    values = [list(rates[::4]) for rates in plan.per_image("lr")]
    assert values[0] == pytest.approx([0.1, 0.1, 0.15, 0.25])
    assert values[1] == pytest.approx([0.125, 0.175, 0.225, 0.275])
    assert values[2] == [0.3] * 4
    assert [float(plan.at(step)["lr"][0]) for step in range(4)] == pytest.approx(values[0])


def test_what_a_point_turns_is_what_is_trained(make_task: Callable[..., Task]) -> None:
    way, cut = Trainer(make_task()), Trainer(make_task())
    way.set_knobs(HIGH)
    way.train(16, ramp_from=LOW, via=((0.5, LOW), (0.5, HIGH)))
    cut.set_knobs(LOW), cut.train(8)
    cut.set_knobs(HIGH), cut.train(8)
    ours, theirs = way.snapshot().tensors, cut.snapshot().tensors
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    straight = Trainer(make_task())
    straight.set_knobs(HIGH)
    straight.train(16, ramp_from=LOW)
    assert not torch.equal(straight.snapshot().tensors["weights"], ours["weights"])


@pytest.mark.parametrize("at_once", [True, False])
def test_lanes_keep_their_ways_trained_at_once_or_in_turn(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr("mapopt.training.fleet.supports_lanes", lambda _: at_once)
    weights = []
    for via in (((0.5, HIGH),), ()):
        fleet = Fleet(make_task(), [1, 2])
        fleet.set_knobs([HIGH, HIGH])
        fleet.train(16, ramp_from=[LOW, LOW], via=[(), via])
        weights.append([fleet.snapshot(lane).tensors["weights"] for lane in range(2)])
    assert torch.equal(weights[0][0], weights[1][0])
    assert not torch.equal(weights[0][1], weights[1][1])


def test_a_decision_is_changed_at_all_of_its_points() -> None:
    decision = Decision(knobs=HIGH, ramp_from=LOW, via=((0.5, LOW),), stop="enough")
    turned = decision.turned(lambda knobs: knobs.replace(augment=1.0))
    assert turned.ramp_from is not None
    assert [knobs.augment for knobs in (turned.knobs, turned.ramp_from, turned.via[0][1])] == [1.0] * 3
    assert (turned.knobs.lr, turned.via[0][0], turned.stop) == (0.3, 0.5, "enough")
    assert Decision(knobs=HIGH).turned(lambda _: LOW) == Decision(knobs=LOW)


def test_a_decision_is_read_as_it_was_written() -> None:
    own = Knobs(lr=0.1, class_weight=0.5, own={"margin": 0.5}).settled()
    for via in ((), ((0.25, own), (0.25, own))):
        decision = Decision(knobs=own, ramp_from=own, via=via)
        assert Decision.from_dict(decision.as_dict()) == decision
        assert ("via" in decision.as_dict()) == bool(via)


@pytest.mark.parametrize(
    ("via", "message"),
    [
        (0.5, "via is of type float: expected pairs of a fraction of the round and Knobs"),
        ((0.5,), "via has a point of type float: expected "),
        (((0.5, 0.1),), r"a point of type float, float: expected \(fraction of the round, Knobs\)"),
        (((True, LOW),), "a point of type bool, Knobs"),
        (((0.0, LOW),), "via has the fraction 0: expected fractions inside the round, between 0 and 1"),
        (((1.0, LOW),), "via has the fraction 1"),
        (((float("nan"), LOW),), "via has the fraction nan"),
        (((0.5, LOW), (0.25, LOW)), "via has the fractions 0.5, 0.25: expected them to rise"),
        (((0.5, LOW),) * 3, "via has the fractions 0.5, 0.5, 0.5: expected them to rise; two at the same are a jump"),
    ],
)
def test_points_that_are_none_are_refused(via: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decision(knobs=HIGH, ramp_from=LOW, via=via)


def test_points_without_a_beginning_are_refused() -> None:
    with pytest.raises(ConfigError, match="via is given without ramp_from: give the knobs at the round's beginning"):
        Decision(knobs=HIGH, via=((0.5, LOW),))
