"""One value that a search chooses: out of a list, or from a range on a linear or a logarithmic scale.

Every dimension maps a fraction in [0, 1) to a value, so that whoever draws needs to know nothing of what is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from mapopt.errors import ConfigError, shown
from mapopt.training.knobs import Range

DIGITS = 3
"""Significant digits of a number that is drawn: more would tell nothing apart, and cannot be read."""


class Dimension(Protocol):
    """What a value is chosen from."""

    def at(self, fraction: float) -> Any:
        """Returns the value at a fraction in [0, 1] of the dimension, each as often as any other."""

    def values(self) -> tuple[Any, ...]:
        """Returns every value there is; nothing where there are too many to try."""

    def holds(self, value: Any) -> bool:
        """Returns whether a value may be chosen."""

    @property
    def ends(self) -> tuple[Any, ...]:
        """What stands for all of its values: every choice, or the lowest and the highest number."""


@dataclass(frozen=True)
class Choices:
    """A list of values, of any kind.

    >>> Choices(("sgd", "adamw")).at(0.5)
    'adamw'
    """

    choices: tuple[Any, ...]

    def at(self, fraction: float) -> Any:
        """Returns the value at a fraction of the list."""
        return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]

    def values(self) -> tuple[Any, ...]:
        """Returns the list."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Returns whether a value is in the list."""
        return any(same(value, choice) for choice in self.choices)

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.choices


@dataclass(frozen=True)
class Numbers:
    """Numbers of a range, evenly spread on its scale.

    Raises:
        ConfigError: there are less than two levels.

    >>> scale = Numbers(Range(0.001, 0.1, log=True), levels=3)
    >>> scale.at(0.5), scale.values()
    (0.01, (0.001, 0.01, 0.1))
    """

    range: Range
    levels: int = 0
    """How many evenly spaced numbers there are to choose from; 0 is any."""
    whole: bool = False
    """Whole numbers only."""

    def __post_init__(self) -> None:
        if self.levels and self.levels < 2:
            raise ConfigError(f"levels is {self.levels}: expected 2 or more, or none for any number of the range")

    def at(self, fraction: float) -> float:
        """Returns the number at a fraction of the range, of so many digits as can be read."""
        if self.levels:
            fraction = min(int(fraction * self.levels), self.levels - 1) / (self.levels - 1)
        value = self.range.from_unit(2 * fraction - 1)
        if self.whole:
            return int(self.range.clip(round(value)))
        return self.range.clip(float(f"{value:.{DIGITS}g}"))

    def values(self) -> tuple[Any, ...]:
        """Returns the levels; nothing where any number may be chosen."""
        return tuple(self.at((level + 0.5) / self.levels) for level in range(self.levels))

    def holds(self, value: Any) -> bool:
        """Returns whether a value is a number of the range, between levels or on them."""
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return number and self.range.low <= value <= self.range.high and (not self.whole or value == int(value))

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest."""
        return (self.at(0.0), self.at(1.0))


def described(dimension: Dimension) -> str:
    """Says what a value is expected to be."""
    if isinstance(dimension, Numbers):
        whole = "a whole number from " if dimension.whole else ""
        return f"{whole}{dimension.range.low:g} to {dimension.range.high:g}"
    return f"one of {', '.join(shown(value) for value in dimension.values())}"


def same(first: Any, second: Any) -> bool:
    """Returns whether two values of a file are the same; true and 1 are not.

    >>> same(True, 1), same(1, 1.0), same([0.2, 0.4], (0.2, 0.4))
    (False, True, True)
    """
    if isinstance(first, bool) != isinstance(second, bool):
        return False
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
