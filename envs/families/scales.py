"""Families in which the scale of a step is unknown: by the units of the losses and the momentum, or by the budget.

A learning rate that is right for one instance is wrong for another, so a single one cannot serve all, and what a run
reports of its own steps says which it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapopt.envs.families.base import Instance, check_band
from mapopt.envs.families.shapes import SceneFamily
from mapopt.training.budget import Budget

_WEIGHT = (0.05, 20.0)
_MOMENTUM = (0.0, 0.99)


@dataclass(frozen=True, kw_only=True)
class UnitsFamily(SceneFamily):
    """Procedural scenes whose losses have other units, and whose optimizer another momentum, in every instance.

    Both weights of the losses are multiplied with one factor: with SGD that is another learning rate.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(UnitsFamily(images=(64, 16, 16)).instance(0))
    units-train-0: losses times 0.75, momentum 0.94, 64 train images
    """

    units: tuple[float, float] = (0.2, 5.0)
    """Smallest and largest factor of the losses; drawn evenly on a logarithmic scale."""
    momenta: tuple[float, float] = (0.0, 0.97)
    """Smallest and largest momentum; what it is short of 1 is drawn evenly on a logarithmic scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band("units", self.units, *_WEIGHT)
        check_band("momenta", self.momenta, *_MOMENTUM)

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        generator = np.random.default_rng(self.seed_of(number))
        own = self.recipe.settle(self.knobs)
        factor = float(np.exp(generator.uniform(*np.log(self.units))))
        short = np.exp(generator.uniform(*np.log([1 - self.momenta[1], 1 - self.momenta[0]])))
        knobs = own.replace(
            momentum=min(max(float(1 - short), 0.0), _MOMENTUM[1]),
            class_weight=_inside(own.get("class_weight") * factor),
            box_weight=_inside(own.box_weight * factor),
        )
        special = f"losses times {factor:.2g}, momentum {knobs.momentum:.2g}"
        return self.make_instance("units", number, self.draw(self.scenes, number), special, knobs=knobs)


@dataclass(frozen=True, kw_only=True)
class BudgetsFamily(SceneFamily):
    """Procedural scenes, each with a budget of its own: from a sixteenth of the longest to that.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(BudgetsFamily(images=(64, 16, 16)).instance(0))
    budgets-train-0: a budget of its own, 64 train images, 6400 images in 10 rounds
    """

    budgets: tuple[Budget, ...] = tuple(Budget(images=images, rounds=10) for images in (800, 1600, 3200, 6400, 12800))
    """Drawn for each instance, each as likely as the others."""

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        return self.make_instance("budgets", number, self.draw(self.scenes, number), "a budget of its own")


def _inside(weight: float) -> float:
    low, high = _WEIGHT
    return min(max(weight, low), high)
