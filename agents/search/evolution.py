"""CMA-ES: a normal distribution of the numbers, and a probability of every choice, that follow the best settings.

Optuna's sampler of this name proposes numbers alone, and draws choices, and numbers that count under some choices
alone, at random for ever. The variant of its package that adapts the choices, too, is used here instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mapopt.agents.search.adaptive import Adaptive, load_package
from mapopt.agents.search.dimensions import Dimension, Numbers
from mapopt.agents.search.space import Setting, Space
from mapopt.agents.search.strategies import MISSES
from mapopt.bounds import LANES, check_whole
from mapopt.errors import ConfigError

FEWEST = 4
"""Settings of a generation; of fewer there are no better and worse halves to compare."""

TRIES = 100
"""Draws in a row that were tried before, after which is drawn as widely as in the beginning."""

WHOLE = 100
"""Whole numbers of a range up to which each is held apart; of more they are rounded."""


class CMAES(Adaptive):
    """Covariance matrix adaptation, with margins that keep levels and whole numbers apart, and adapted choices.

    Every number of the space is a coordinate, on the scale of its range, and so is every list of choices. One that does
    not count beside the choices of a setting is drawn and ignored. Only the order of the scores of a generation counts.

    Args:
        space: to propose from.
        seed: of all draws.
        batch: settings of a generation, which are tried together; 0 is 4 + 3 ln(coordinates), rounded down.
        spread: standard deviation of the first generation around the middle of every range, as a fraction of it.

    Raises:
        ConfigError: the package ``cmaes`` is not installed, the space has nothing to choose, or a number is out of its
            bounds.

    Reference: N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772, 2016; R. Hamano et al., "CatCMA
    with Margin: Stochastic Optimization for Continuous, Integer, and Categorical Variables", GECCO 2025, in the
    implementation of the package ``cmaes``.
    """

    def __init__(self, space: Space, *, seed: int, batch: int = 0, spread: float = 0.25) -> None:
        if not 0 < spread <= 1:
            raise ConfigError(f"spread is {spread}: expected a fraction of the ranges, above 0 up to 1")
        self._coordinates = coordinates = _Coordinates(space)
        if not coordinates.count:
            raise ConfigError("strategy 'cma_es' has nothing to choose: every name of the space has a single value")
        if batch:
            check_whole("batch", batch, FEWEST, LANES)
        # The default of Hansen's tutorial, equation 48.
        super().__init__(space, seed=seed, startup=0, batch=batch or 4 + math.floor(3 * math.log(coordinates.count)))
        self.spread = spread
        self._package = load_package("cmaes", "search strategy 'cma_es'")
        self._drawn: list[Any] = []
        """What each setting was drawn as."""

    def propose(self, number: int) -> Setting:
        """Returns a setting by the scores of the generations that are complete.

        Raises:
            ConfigError: the space has no more settings, as far as many draws tell.
        """
        optimizer = self._optimizer(number)
        for miss in range(MISSES):
            if miss == TRIES:
                optimizer = self._optimizer(number, adapted=False)
            drawn = optimizer.ask()
            setting = self.space.walk(lambda name, dimension, at=drawn: self._coordinates.value(dimension, at))  # type: ignore[misc]
            if self.is_new(setting):
                self._drawn.append(drawn)
                return setting
        raise self.exhausted()

    def _optimizer(self, number: int, *, adapted: bool = True) -> Any:
        """Returns the distribution that a setting is drawn from."""
        coordinates, size = self._coordinates, self._later
        gaussian = len(coordinates.ranges) + len(coordinates.levels)
        optimizer = self._package.CatCMAwM(
            x_space=[[0.0, 1.0]] * len(coordinates.ranges) or None,
            z_space=[fractions for fractions, _ in coordinates.levels] or None,
            c_space=[len(choices) for choices in coordinates.choices] or None,
            population_size=size,
            mean=np.full(gaussian, 0.5) if gaussian else None,
            sigma=self.spread,
            cov=np.eye(gaussian) if gaussian else None,
            seed=self.seed_of(number),
        )
        scores = self.scores() if adapted else {}
        for start in range(0, number - number % size, size):
            reached = [scores.get(place) for place in range(start, start + size)]
            if any(score is None for score in reached):
                break
            # Of a generation that is all alike, such as one that diverged, nothing is to be learned.
            if len(set(reached)) > 1:
                order = np.argsort(-np.array(reached, dtype=np.float64), kind="stable")
                optimizer.tell([(self._drawn[start + place], float(rank)) for rank, place in enumerate(order)])
        return optimizer


class _Coordinates:
    """Where every dimension of a space is in what is drawn."""

    def __init__(self, space: Space) -> None:
        self.ranges: list[Dimension] = []
        """Numbers of which there are too many to hold apart."""
        self.levels: list[tuple[list[float], list[Any]]] = []
        """Numbers that are held apart: their places on their scale, from 0 to 1, and they themselves."""
        self.choices: list[list[Any]] = []
        self._places: dict[int, tuple[list[Any], int]] = {}
        for cases in space.cases.values():
            for case in cases:
                self._add(case.dimension)

    @property
    def count(self) -> int:
        """Of all coordinates."""
        return len(self.ranges) + len(self.levels) + len(self.choices)

    def value(self, dimension: Dimension, drawn: Any) -> Any:
        """Returns the value of a dimension in what was drawn."""
        if id(dimension) not in self._places:
            return dimension.at(0.0)
        kind, place = self._places[id(dimension)]
        if kind is self.ranges:
            return dimension.at(float(drawn.x[place]))
        if kind is self.choices:
            return self.choices[place][int(np.argmax(drawn.c[place]))]
        fractions, values = self.levels[place]
        return values[int(np.argmin(np.abs(np.array(fractions) - drawn.z[place])))]

    def _add(self, dimension: Dimension) -> None:
        values = _values(dimension)
        if len(values) == 1:
            return
        kind: list[Any] = self.choices
        entry: Any = values
        if not values:
            kind, entry = self.ranges, dimension
        elif isinstance(dimension, Numbers) and len(values) > 2:
            kind, entry = self.levels, ([(dimension.range.to_unit(value) + 1) / 2 for value in values], values)
        self._places[id(dimension)] = (kind, len(kind))
        kind.append(entry)


def _values(dimension: Dimension) -> list[Any]:
    """Returns the values of a dimension; nothing where there are too many."""
    if isinstance(dimension, Numbers) and dimension.whole and not dimension.levels:
        low, high = math.ceil(dimension.range.begin), math.floor(dimension.range.high)
        return list(range(low, high + 1)) if high - low < WHOLE else []
    values: list[Any] = []
    for value in dimension.values():
        if value not in values or not isinstance(dimension, Numbers):
            values.append(value)
    return values
