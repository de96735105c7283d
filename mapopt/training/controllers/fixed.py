"""Controllers that look at nothing but the number of rounds: constant knobs, a schedule, a replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, check_range, with_rate
from mapopt.training.history import Round


@dataclass(frozen=True)
class Constant:
    """Keeps the task's knobs."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the task's knobs, whatever happened."""
        return Decision(knobs=task.knobs)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate that follows the budget: a linear warm-up, then cosine, steps or nothing.

    Within a round the rate moves linearly, step by step; at the round's ends it is the schedule's own.

    Reference: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5
    (one period); P. Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2 (the warm-up).
    """

    shape: Literal["cosine", "steps", "constant"] = "cosine"
    warmup: float = 0.05
    """Share of the budget the warm-up takes."""
    warmup_from: float = 0.1
    """Share of the rate the warm-up begins at."""
    final: float = 0.01
    """Share of the rate that cosine ends at."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """Shares of the budget after which steps divide the rate."""
    factor: float = 0.1
    """What steps multiply the rate with."""

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
        """Returns the share of the rate after a share of the budget."""
        if progress < self.warmup:
            return self.warmup_from + (1 - self.warmup_from) * progress / self.warmup
        if self.shape == "cosine":
            done = (progress - self.warmup) / max(1e-9, 1 - self.warmup)
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        if self.shape == "steps":
            # The tolerance keeps a milestone that falls on a round's end from coming one round late.
            return self.factor ** sum(progress >= milestone - 1e-9 for milestone in self.milestones)
        return 1.0

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the schedule's rate at the coming round's ends."""
        begin, end = len(history) / budget.rounds, (len(history) + 1) / budget.rounds
        first = self.fraction(begin)
        # Steps jump: within a round the rate stays what it was when the round began.
        last = first if self.shape == "steps" and begin >= self.warmup else self.fraction(end)
        return Decision(knobs=with_rate(task.knobs, last), ramp_from=with_rate(task.knobs, first))


@dataclass(frozen=True)
class Replay:
    """Repeats recorded decisions without looking at the run: the open loop that a policy has to beat."""

    decisions: tuple[Decision, ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, history: Sequence[Round]) -> Replay:
        """Replays a run's own rounds."""
        return cls(tuple(Decision(knobs=one.knobs, ramp_from=one.ramp_from) for one in history))

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the recorded decision of this round."""
        if len(history) >= len(self.decisions):
            raise ConfigError(
                f"round {len(history) + 1} was asked of a replay of {len(self.decisions)} rounds: "
                "use a budget of as many rounds as were recorded"
            )
        return self.decisions[len(history)]
