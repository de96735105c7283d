"""The learning rate over a run: a linear warm-up, then cosine, steps or nothing, and on request a restart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_AT_DEFAULT
from mapopt.training.controllers.base import check_range
from mapopt.training.ramps import TOLERANCE


@dataclass(frozen=True, kw_only=True)
class RateShape:
    """The fraction of the learning rate that a moment of the run has.

    Raises:
        ConfigError: a fraction is not from 0 to 1, or there is no such shape.

    Reference: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5
    (one period, or two with a restart); P. Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2
    (the warm-up).
    """

    shape: Literal["cosine", "steps", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = 0.1
    """Fraction of the budget that the warm-up takes."""
    warmup_from: float = 0.1
    """Fraction of the learning rate that the warm-up begins at."""
    final: float = 0.0
    """Fraction of the learning rate that cosine ends at."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """Fractions of the budget after which steps divide the learning rate."""
    factor: float = 0.1
    """What steps multiply the learning rate with."""
    restart: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """Fraction of the budget after which the learning rate starts again, and cosine has reached its end; 1 never."""
    restart_fraction: float = field(default=0.1, metadata=LEFT_OUT_AT_DEFAULT)
    """Fraction of the learning rate that the restart begins at; cosine falls from it to 0, other shapes stay there."""

    def __post_init__(self) -> None:
        check_range("warmup", self.warmup, 0, 1)
        check_range("warmup_from", self.warmup_from, 0, 1)
        check_range("final", self.final, 0, 1)
        check_range("factor", self.factor, 0, 1)
        for milestone in self.milestones:
            check_range("milestones", milestone, 0, 1)
        check_range("restart", self.restart, 0, 1)
        check_range("restart_fraction", self.restart_fraction, 0, 1)
        if self.restarts and self.restart <= self.warmup:
            raise ConfigError(
                f"restart is {self.restart:g} with a warmup of {self.warmup:g}: expected a fraction of the budget "
                "after the warm-up, or 1 for none"
            )
        if self.shape not in ("cosine", "steps", "constant"):
            raise ConfigError(f"schedule shape is {self.shape!r}: expected cosine, steps or constant")

    def fraction(self, progress: float) -> float:
        """Returns the fraction of the learning rate after a fraction of the budget; where it jumps, that after it."""
        if self.restarts and progress >= self.restart - TOLERANCE:
            return self.restart_fraction * self._cosine(progress, self.restart, 1.0)
        return self._first_period(progress)

    def fraction_before(self, progress: float) -> float:
        """Returns what `fraction` comes to from below, which is another value where it jumps."""
        if self.restarts and abs(progress - self.restart) <= TOLERANCE:
            return self._first_period(progress, before=True)
        if self.restarts and progress > self.restart:
            return self.fraction(progress)
        return self._first_period(progress, before=True)

    def bends(self) -> list[float]:
        """Returns the fractions of the budget at which the learning rate bends or jumps."""
        # Before the warm-up ends, steps wait.
        steps = [milestone for milestone in self.milestones if self.warmup < milestone < self.restart]
        again = [self.restart] if self.restarts else []
        return [self.warmup, *(steps if self.shape == "steps" else ()), *again]

    @property
    def restarts(self) -> bool:
        """Whether the learning rate starts again before the run ends."""
        return self.restart < 1

    def _first_period(self, progress: float, *, before: bool = False) -> float:
        if progress < self.warmup - (TOLERANCE if before and self.shape == "steps" else 0):
            return self.warmup_from + (1 - self.warmup_from) * progress / self.warmup
        if self.shape == "cosine":
            return self.final + (1 - self.final) * self._cosine(progress, self.warmup, self.restart)
        if self.shape == "constant" or (before and progress <= self.warmup + TOLERANCE):
            return 1.0
        if before:
            return self.factor ** sum(progress > milestone + TOLERANCE for milestone in self.milestones)
        # The tolerance keeps a milestone that falls on a round's end from coming one round late.
        return self.factor ** sum(progress >= milestone - TOLERANCE for milestone in self.milestones)

    def _cosine(self, progress: float, begin: float, end: float) -> float:
        """Returns 1 at the begin, 0 at the end and half a cosine between; 1 throughout for shapes without one."""
        if self.shape != "cosine":
            return 1.0
        done = (progress - begin) / max(1e-9, end - begin)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2
