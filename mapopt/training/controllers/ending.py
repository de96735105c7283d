"""Ends augmentation before the run does, whatever controller decides the rest: the last images are as val's are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, Wrapper
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs
from mapopt.training.ramps import TOLERANCE, knobs_at, points_of


@dataclass(frozen=True, kw_only=True)
class AugmentUntil(Wrapper):
    """Sets the knobs `augment` and `augment_kinds` to 0 from a fraction of the budget on, to the step.

    Raises:
        ConfigError: the fraction is not between 0 and 1.

    Reference: Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430, section 2.1: mosaic and MixUp are
    closed for the last 15 of 300 epochs. Here all augmentation is.
    """

    fraction: float
    """Of the budget."""

    def __post_init__(self) -> None:
        check_ending(self.fraction)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the inner controller's decision, without augmentation where its time is over."""
        decision = self.controller.decide(history, task, budget)
        place = self.fraction * budget.rounds - len(history)
        if place >= 1 - TOLERANCE:
            return decision
        if place <= TOLERANCE:
            return decision.turned(_off)
        # It ends inside the round: a jump there, and nothing of it behind.
        way = points_of(decision.ramp_from, decision.via, decision.knobs)
        here = knobs_at(way, place)
        before = [point for point in decision.via if point[0] < place - TOLERANCE]
        behind = [(at, _off(knobs)) for at, knobs in decision.via if at > place + TOLERANCE]
        return Decision(
            knobs=_off(decision.knobs),
            ramp_from=way[0][1],
            via=(*before, (place, here), (place, _off(here)), *behind),
            stop=decision.stop,
        )


def _off(knobs: Knobs) -> Knobs:
    return knobs.replace(augment=0.0, augment_kinds=0.0)


def check_ending(fraction: float) -> None:
    """Raises ConfigError unless a fraction of the budget is one at which augmentation can end."""
    if not 0 <= fraction <= 1:
        raise ConfigError(
            f"augment_until is {fraction}: expected a fraction of the budget, such as 0.85; 1 keeps augmentation on"
        )
