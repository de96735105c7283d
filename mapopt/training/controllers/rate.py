"""The learning rate over a run: a linear warm-up, then cosine, steps or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mapopt.errors import ConfigError
from mapopt.training.controllers.base import check_range
from mapopt.training.ramps import TOLERANCE


@dataclass(frozen=True, kw_only=True)
class RateShape:
    """The fraction of the learning rate that a moment of the run has.

    Raises:
        ConfigError: a fraction is not from 0 to 1, or there is no such shape.

    Reference: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5
    (one period); P. Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2 (the warm-up).
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

    def __post_init__(self) -> None:
        check_range("warmup", self.warmup, 0, 1)
        check_range("warmup_from", self.warmup_from, 0, 1)
        check_range("final", self.final, 0, 1)
        check_range("factor", self.factor, 0, 1)
        for milestone in self.milestones:
            check_range("milestones", milestone, 0, 1)
        if self.shape not in ("cosine", "steps", "constant"):
            raise ConfigError(f"schedule shape is {self.shape!r}: expected cosine, steps or constant")

    def fraction(self, progress: float) -> float:
        """Returns the fraction of the learning rate after a fraction of the budget; where steps jump, that after it."""
        if progress < self.warmup:
            return self.warmup_from + (1 - self.warmup_from) * progress / self.warmup
        if self.shape == "cosine":
            done = (progress - self.warmup) / max(1e-9, 1 - self.warmup)
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        if self.shape == "steps":
            # The tolerance keeps a milestone that falls on a round's end from coming one round late.
            return self.factor ** sum(progress >= milestone - TOLERANCE for milestone in self.milestones)
        return 1.0

    def fraction_before(self, progress: float) -> float:
        """Returns what `fraction` comes to from below, which is another value where steps jump."""
        if self.shape != "steps" or progress < self.warmup - TOLERANCE:
            return self.fraction(progress)
        passed = sum(progress > milestone + TOLERANCE for milestone in self.milestones)
        return 1.0 if progress <= self.warmup + TOLERANCE else self.factor**passed

    def bends(self) -> list[float]:
        """Returns the fractions of the budget at which the learning rate bends or jumps."""
        # Before the warm-up ends, steps wait.
        steps = self.milestones if self.shape == "steps" else ()
        return [self.warmup, *(milestone for milestone in steps if milestone > self.warmup)]
