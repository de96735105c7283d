"""Controllers that react to AP: a lower learning rate where it stalls, and early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, Wrapper, check_range, with_rate
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.history import Round


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Lowers the learning rate when val AP stalls."""

    rounds: int = 2
    """Rounds without a better val AP before the learning rate is lowered."""
    factor: float = 0.3
    """What the learning rate is multiplied with."""
    margin: float = 0.002
    """How much better counts as better, in AP."""
    warmup: float = 0.05
    """Fraction of the budget that the warm-up takes."""
    warmup_from: float = 0.1
    """Fraction of the learning rate that the warm-up begins at."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}: expected 1 or more")
        check_range("factor", self.factor, 0, 1)
        check_range("margin", self.margin, 0, 1)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the learning rate that follows from when val AP last improved."""
        best, stalled, fraction = -1.0, 0, 1.0
        for played in history:
            if played.val.ap > best + self.margin:
                best, stalled = played.val.ap, 0
            else:
                stalled += 1
            if stalled >= self.rounds:
                fraction, stalled = fraction * self.factor, 0
        warm = Schedule(shape="constant", warmup=self.warmup, warmup_from=self.warmup_from)
        base = task.knobs.get("lr")
        return warm.decide(history, task, budget).turned(
            lambda knobs: with_rate(task.knobs, fraction * knobs.get("lr") / base)
        )


@dataclass(frozen=True, kw_only=True)
class Patience(Wrapper):
    """Early stopping: ends the run when val AP has not improved for a number of rounds."""

    rounds: int = 5
    margin: float = 0.0
    """How much better counts as better, in AP."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}: expected 1 or more")

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the inner controller's decision, with the order to stop if it is time."""
        decision = self.controller.decide(history, task, budget)
        best, since = -1.0, 0
        for ap in (played.val.ap for played in history):
            best, since = (ap, 0) if ap > best + self.margin else (best, since + 1)
        if since >= self.rounds:
            stop = f"val AP has not risen above {best:.4f} for {since} rounds"
            return replace(decision, stop=stop)
        return decision
