"""The batteries for somebody else's parts: ours pass them, and every way to break a rule is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import (
    CONTROLLERS,
    OPTIMIZERS,
    Budget,
    Constant,
    Decision,
    Knobs,
    Patience,
    Plateau,
    Replay,
)
from mapopt.training.optimizers.sgd import RowSGD
from mapopt.training.testing import check_controller, check_detector, check_optimizer

# Controllers


PLANNERS = ("lookahead", "best_of_n", "mf_pbt")
"""What decides nothing without lanes to try on."""


@pytest.mark.parametrize("name", [name for name in CONTROLLERS if name not in ("agent", "replay", *PLANNERS)])
def test_our_controllers_have_the_properties(name: str) -> None:
    check_controller(name)


def test_controllers_that_hold_others_or_a_record_have_the_properties() -> None:
    check_controller(Patience(controller=Plateau(rounds=1), rounds=2))
    replay = Replay(tuple(Decision(knobs=Knobs(lr=0.1 / (1 + number))) for number in range(4)))
    names = ["deterministic", "history is left alone", "knobs", "stops"]
    check_controller(replay, budget=Budget(images=64, rounds=4), properties=names)


@dataclass
class Counts:
    """Decides by how often it was asked."""

    asked: list[int] = field(default_factory=list)

    def decide(self, history, task, budget):
        self.asked.append(1)
        return Decision(knobs=task.knobs.replace(lr=0.1 / (1 + len(self.asked))))


def decide_by_identity(history, task, budget):
    return Decision(knobs=task.knobs.replace(lr=0.1 + id(history) % 1000 / 1e4))


def decide_in_place(history, task, budget):
    if history:
        history.pop()
    return Decision(knobs=task.knobs)


def decide_nothing(history, task, budget):
    return None


def decide_own_knobs_away(history, task, budget):
    return Decision(knobs=Knobs())


def decide_foreign_knobs(history, task, budget):
    return Decision(knobs=Knobs(own={"foreign": 1.0}))


def decide_to_stop_at_once(history, task, budget):
    return Decision(knobs=task.knobs, stop="" if history else "no wish to")


def decide_to_stop_without_a_word(history, task, budget):
    return Decision(knobs=task.knobs, stop=len(history) > 3)


def decide_the_impossible_on_the_way(history, task, budget):
    own = task.knobs
    return Decision(knobs=own, ramp_from=own, via=((0.25, own), (0.5, Knobs(own={"foreign": 1.0}))))


class Curious(Constant):
    """Wants what nobody measures."""

    measures = ("beauty",)


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (Counts(), r"Counts fails 'deterministic': after 11 rounds it decided lr=\S+, and asked again lr="),
        (decide_by_identity, "fails 'deterministic': .* a decision is a function of the history alone"),
        (decide_in_place, "fails 'history is left alone': it changed the history of 1 rounds"),
        (decide_nothing, "fails 'deterministic': decided NoneType after 0 rounds, expected a Decision with Knobs"),
        (lambda history, task, budget: history[-1], "fails 'deterministic': after 0 rounds it raised IndexError"),
        (decide_own_knobs_away, "fails 'own knobs stay': .*knob an_own_knob has no value.*start from task.knobs"),
        (decide_foreign_knobs, "fails 'knobs': knobs after 0 rounds: unknown knob 'foreign'"),
        (decide_the_impossible_on_the_way, "fails 'knobs': via at 0.5 after 0 rounds: unknown knob 'foreign'"),
        (decide_to_stop_at_once, r"fails 'stops': it stops before the first round \(no wish to\)"),
        (decide_to_stop_without_a_word, "fails 'stops': stop is of type bool after 0 rounds: say why"),
        (Curious(), "fails 'measures': it asks for the measure 'beauty', expected calibration or operating_point"),
    ],
)
def test_a_controller_that_breaks_a_rule_is_named(controller: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_controller(controller)


# Optimizers


@pytest.mark.parametrize("name", [*OPTIMIZERS, "torch.optim:RAdam", "torch.optim:Adagrad"])
def test_our_optimizers_have_the_properties(name: str) -> None:
    check_optimizer(name)


def test_an_own_optimizer_with_a_knob_has_the_properties(own_optimizer: str) -> None:
    check_optimizer(own_optimizer, {"scale": 2.0})


class Uphill(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, -gradient, knobs, active)


class Elsewhere(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights.clone(), gradient, knobs, active)


class Greedy(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient.mul_(0.5), knobs, active)


class Boastful(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return 2 * super().update(weights, gradient, knobs, active)


class Silent(RowSGD):
    def update(self, weights, gradient, knobs, active):
        super().update(weights, gradient, knobs, active)


class Exploding(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient / 0, knobs, active)


class Restive(RowSGD):
    def update(self, weights, gradient, knobs, active):
        moved = super().update(weights, gradient, knobs, active)
        self.state["velocity"] += 1
        return moved


class Waiting(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient, knobs, active & active.all())


class Sociable(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient / gradient.norm(), knobs, active)


class Restless(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient, knobs, torch.ones_like(active))


class Forgetful(RowSGD):
    def __init__(self, weights, decay):
        super().__init__(weights, decay)
        self.velocity, self.state = self.state["velocity"], {}

    def update(self, weights, gradient, knobs, active):
        self.state = {"velocity": self.velocity}
        try:
            return super().update(weights, gradient, knobs, active)
        finally:
            self.state = {}


class Late(RowSGD):
    def update(self, weights, gradient, knobs, active):
        self.state["late"] = torch.zeros(len(weights), 1)
        return super().update(weights, gradient, knobs, active)


class Stubborn(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient, {**knobs, "lr": torch.full_like(knobs["lr"], 0.1)}, active)


class Undeclared(RowSGD):
    def update(self, weights, gradient, knobs, active):
        return super().update(weights, gradient * knobs["zeal"][:, None], knobs, active)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (Uphill, "Uphill fails 'downhill': the first step does not go down the gradient"),
        (Elsewhere, "fails 'downhill': a step changed nothing: the weights are to be changed in place"),
        (Greedy, "fails 'downhill': it changed the gradient that it was given"),
        (Boastful, "fails 'lengths': update returned the lengths"),
        (Silent, r"fails 'lengths': update returned \[\], expected the length of each lane's step, \[3\]"),
        (Exploding, "fails 'downhill': weights are not finite after a step"),
        (Restive, "fails 'rest': the state 'velocity' of a resting lane changed"),
        (Waiting, "fails 'rest': an active lane did not move beside a lane that rests"),
        (Sociable, "fails 'rows': a lane among five and alone differ by"),
        (Restless, "fails 'rest': a lane that is not active moved"),
        (Forgetful, "fails 'state': a copy of its state went on to weights that differ by"),
        (Late, "fails 'state': the state of a fresh optimizer is not that after 3 steps: .*make all of it in the"),
        (Stubborn, "fails 'knobs are read at every step': the knobs {'lr': 0.02} changed nothing"),
        (Undeclared, "fails 'downhill': it reads a knob 'zeal' that is none: declare it in an attribute `knobs`"),
        ("torch.optim:Rprop", "fails 'knobs are read at every step': the knobs {'lr': 0.02} changed nothing"),
    ],
)
def test_an_optimizer_that_breaks_a_rule_is_named(optimizer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_optimizer(optimizer)


# All


@pytest.mark.parametrize("check", [check_controller, check_optimizer, check_detector])
def test_an_unknown_property_is_named(check: Any) -> None:
    part = {check_controller: "constant", check_optimizer: "sgd", check_detector: "tiny"}[check]
    with pytest.raises(ConfigError, match="unknown property 'beauty'"):
        check(part, properties=["beauty"])
