"""The family of wrong configurations: every instance starts from a mistake that people really make.

The data are those of the shapes; the mistake lies in the task's knobs, or, where it is about the schedule, in
`Instance.baseline`. So the zero action trains as the mistaken configuration would, and what an agent gains over it is
the gain of its rescue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mapopt.envs.families.base import Instance, check_choice
from mapopt.envs.families.shapes import SceneFamily
from mapopt.errors import ConfigError
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.knobs import Knobs, ranges


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One way to get a configuration wrong: by a knob, or by the schedule."""

    knob: str = ""
    """The knob of ours that is wrong; empty where the schedule is."""
    factor: tuple[float, float] | None = None
    """Smallest and largest factor on the family's own value; drawn evenly on a logarithmic scale."""
    value: tuple[float, float] | None = None
    """Smallest and largest value, where it does not depend on the family's own; drawn evenly."""
    baseline: Controller | None = None
    """The schedule, where that is wrong."""
    text: str = ""
    """What is wrong with the schedule, in words."""

    def knobs(self, right: Knobs, generator: np.random.Generator) -> Knobs:
        """Returns `right` with the mistake made, as severe as drawn."""
        return right.replace(**{self.knob: self._draw(right, generator.uniform())}) if self.knob else right

    def check(self, name: str, right: Knobs) -> None:
        """Raises ConfigError where some draw would be out of the knob's range, or no mistake."""
        if not self.knob:
            return
        own, bounds = right.get(self.knob), ranges()[self.knob]
        for fraction in (0.0, 1.0):
            wrong = self._draw(right, fraction)
            if wrong == own or bounds.clip(wrong) != wrong:
                raise ConfigError(
                    f"mistake '{name}' cannot be made with knobs.{self.knob} {own:g}: it would be {wrong:g}, where "
                    f"another value from {bounds.low:g} to {bounds.high:g} is needed. Leave it out of mistakes, or "
                    f"give another knobs.{self.knob}"
                )
        if self.value is not None and self.value[0] < own < self.value[1]:
            raise ConfigError(
                f"mistake '{name}' draws knobs.{self.knob} from {self.value[0]:g} to {self.value[1]:g}, around the "
                f"family's own {own:g}. Leave it out of mistakes, or give another knobs.{self.knob}"
            )

    def _draw(self, right: Knobs, fraction: float) -> float:
        if self.factor is not None:
            low, high = self.factor
            return float(right.get(self.knob) * low * math.exp(fraction * math.log(high / low)))
        assert self.value is not None
        low, high = self.value
        return float(low + fraction * (high - low))


MISTAKES: dict[str, Mistake] = {
    "learning-rate-too-high": Mistake(knob="lr", factor=(10.0, 10.0)),
    "learning-rate-too-low": Mistake(knob="lr", factor=(0.1, 0.1)),
    "no-warm-up": Mistake(baseline=Schedule(warmup=0.0), text="the schedule begins at the full learning rate"),
    "box-weight-too-small": Mistake(knob="box_weight", factor=(0.05, 0.1)),
    "assignment-too-low": Mistake(knob="assign_iou", value=(0.05, 0.1)),
    "assignment-too-high": Mistake(knob="assign_iou", value=(0.65, 0.8)),
    "no-augmentation": Mistake(knob="augment", value=(0.0, 0.0)),
    "too-much-augmentation": Mistake(knob="augment", value=(0.9, 1.0)),
    "weight-decay-too-strong": Mistake(knob="weight_decay", value=(0.8, 1.0)),
}


@dataclass(frozen=True, kw_only=True)
class RescueFamily(SceneFamily):
    """Procedural scenes whose run starts from one mistake: every kind of mistake appears equally often, in both splits.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(RescueFamily(images=(64, 16, 16)).instance(0))
    rescue-train-0: mistake learning-rate-too-high: lr 0.8 instead of 0.08, 64 train images
    """

    count: int = 6 * len(MISTAKES)
    """How many instances there are: a multiple of the number of mistakes."""
    mistakes: tuple[str, ...] = tuple(MISTAKES)
    """The kinds of mistakes, in turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("mistakes", self.mistakes, MISTAKES)
        object.__setattr__(self, "mistakes", tuple(self.mistakes))
        right = self.recipe.settle(self.knobs)
        for name in self.mistakes:
            MISTAKES[name].check(name, right)
        kinds = len(self.mistakes)
        if self.count % kinds:
            lower = self.count // kinds * kinds
            near = " or ".join(str(count) for count in (lower, lower + kinds) if count)
            raise ConfigError(
                f"{self.count} instances of {kinds} mistakes: expected a multiple, so that each comes equally often. "
                f"Give count {near}, or other mistakes"
            )

    def mistake_of(self, number: int) -> str:
        """Returns the name, in `MISTAKES`, of what is wrong with an instance."""
        self.seed_of(number)
        return self.mistakes[number % len(self.mistakes)]

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        name = self.mistake_of(number)
        mistake = MISTAKES[name]
        right = self.recipe.settle(self.knobs)
        knobs = mistake.knobs(right, np.random.default_rng(self.seed_of(number)))
        if mistake.knob:
            given, best = knobs.get(mistake.knob), right.get(mistake.knob)
            special = f"mistake {name}: {mistake.knob} {given:.3g} instead of {best:.3g}"
        else:
            special = f"mistake {name}: {mistake.text}"
        splits = self.draw(self.scenes, number)
        return self.make_instance("rescue", number, splits, special, knobs=knobs, baseline=mistake.baseline)
