"""What a search tries next: a strategy is asked for settings, and is given the scores of those that were tried.

A strategy is a function of its space, its seed and the scores it was given, so a search that was stopped asks the same
settings again and finds their runs in the store. Whoever adds one, such as a model that proposes what promises most,
writes `ask` and `tell` and adds a line to `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mapopt.agents.search.space import Setting, Space
from mapopt.bounds import check_whole
from mapopt.errors import ConfigError
from mapopt.registry import Registry

MISSES = 1000
"""Draws in a row that were drawn before, after which a space counts as exhausted."""

HELD = "recipe."
"""What `together` holds: settings that differ in other names alone train as lanes of one fleet."""


@dataclass(frozen=True)
class Scored:
    """A setting that was tried."""

    setting: Setting
    score: float
    """The higher the better, relative to the others that were tried."""


class Strategy(Protocol):
    """Whatever proposes settings; it is made of a space, of a seed and of its own settings, by name."""

    total: int | None
    """How many settings it has; None where the search says how many it is asked for."""
    batch: int
    """After how many settings it is to be given scores before it is asked for more; 0 is after all."""

    def ask(self, count: int) -> list[Setting]:
        """Returns settings that were not asked for yet."""

    def tell(self, tried: Sequence[Scored]) -> None:
        """Is given everything that was tried so far; scores are relative, so earlier ones may have changed."""


class Grid:
    """Tries every combination.

    >>> from mapopt.agents.search.reading import read_space
    >>> Grid(read_space({"knobs.lr": [0.1, 0.2], "knobs.augment": [0.5]}), seed=0).ask(1)
    [{'knobs.lr': 0.1, 'knobs.augment': 0.5}]
    """

    batch = 0

    def __init__(self, space: Space, *, seed: int) -> None:
        self._settings = space.all_settings()
        self._asked = 0
        self.total: int | None = len(self._settings)

    def ask(self, count: int) -> list[Setting]:
        """Returns the next combinations, in the order of the names, the last one changing first."""
        self._asked += count
        return self._settings[self._asked - count : self._asked]

    def tell(self, tried: Sequence[Scored]) -> None:
        """Takes no notice."""


class Random:
    """Draws every value by itself, evenly over its choices or over the scale of its range.

    Args:
        space: to draw from.
        seed: of the draws; the same for every method, so that methods with one space try the same settings.
        together: settings in a row that have the same values of ``recipe.`` names, so that so many at least train as
            lanes of one fleet, which costs less. What they have in common is drawn less often.

    Reference: J. Bergstra, Y. Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
    """

    batch = 0
    total: int | None = None

    def __init__(self, space: Space, *, seed: int, together: int = 1) -> None:
        check_whole("together", together, 1)
        self._space, self._together = space, together
        self._held = _held(space) if together > 1 else ()
        self._free = tuple(name for name in space.names if name not in self._held)
        self._held_points, self._free_points = (
            self._points(len(names), np.random.default_rng([seed, number]))
            for number, names in enumerate((self._held, self._free))
        )
        self._common: dict[str, float] = {}
        self._left = 0
        self._asked: list[Setting] = []

    def _points(self, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yields points of the unit cube, without end."""
        while True:
            yield generator.random(count)

    def ask(self, count: int) -> list[Setting]:
        """Draws settings.

        Raises:
            ConfigError: the space has no more settings, as far as many draws tell.
        """
        drawn: list[Setting] = []
        misses = 0
        while len(drawn) < count:
            if not self._left:
                self._common = dict(zip(self._held, next(self._held_points).tolist(), strict=True))
                self._left = self._together
            fractions = self._common | dict(zip(self._free, next(self._free_points).tolist(), strict=True))
            setting = self._space.walk(lambda name, dimension, at=fractions: dimension.at(at[name]))  # type: ignore[misc]
            if setting not in self._asked:
                self._asked.append(setting)
                drawn.append(setting)
                self._left -= 1
                misses = 0
                continue
            self._left, misses = 0, misses + 1
            if misses > MISSES:
                raise ConfigError(
                    f"{MISSES} draws in a row gave none beside the {len(self._asked)} settings that were drawn before: "
                    "give fewer settings, or a larger space"
                )
        return drawn

    def tell(self, tried: Sequence[Scored]) -> None:
        """Takes no notice."""


class Sobol(Random):
    """Draws as `Random` does, but from a scrambled Sobol sequence, which leaves smaller gaps and no clusters.

    Reference: A. B. Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14, 1998, in scipy's
    implementation.
    """

    def _points(self, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        from scipy.stats.qmc import Sobol as Sequence_  # here, because a space is read without scipy

        if not count:
            yield from super()._points(count, generator)
        sequence = Sequence_(count, scramble=True, seed=generator)
        while True:
            yield sequence.random(1)[0]


def _held(space: Space) -> tuple[str, ...]:
    """Returns the names of a recipe and those that decide which of them count."""
    held = {name for name in space.names if name.startswith(HELD)}
    for name in reversed(space.names):
        if name in held:
            held |= {other for case in space.cases[name] for other in case.when}
    return tuple(name for name in space.names if name in held)


STRATEGIES: Registry[Any] = Registry(
    "search strategy",
    {
        "grid": "mapopt.agents.search.strategies:Grid",
        "random": "mapopt.agents.search.strategies:Random",
        "sobol": "mapopt.agents.search.strategies:Sobol",
        "tpe": "mapopt.agents.search.tree_parzen:TPE",
        "cma_es": "mapopt.agents.search.evolution:CMAES",
    },
    check=lambda part: "" if hasattr(part, "ask") and hasattr(part, "tell") else "has no methods ask and tell",
)
"""Each is a class: space, seed and own settings -> a `Strategy`."""
