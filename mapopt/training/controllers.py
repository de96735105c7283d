"""Controllers decide the knobs of every round from the history alone.

A cosine schedule, a reaction to a stalled AP, early stopping, a trained policy and the replay of yesterday's run are
the same kind of thing, so they can be compared, resumed and replayed by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mapopt.errors import ConfigError
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.task import Budget, TaskInfo


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The knobs of the coming round."""

    knobs: Knobs
    ramp_from: Knobs | None = None
    """If given, the knobs move from these to `knobs`, step by step."""
    stop: str = ""
    """If not empty, the run ends before the round, for this reason."""


class Controller(Protocol):
    """Whatever decides the knobs.

    One that reads more of a round than AP has an attribute ``measures`` that says what; see `measures_of`.
    """

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Decides the round that follows `history`; a function of its arguments only."""


def measures_of(controller: Controller) -> tuple[Measure, ...]:
    """Returns what a controller wants to be measured of every round beside AP: its ``measures``, if it has any."""
    return getattr(controller, "measures", ())


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
        _check("warmup", self.warmup, 0, 1)
        _check("warmup_from", self.warmup_from, 0, 1)
        _check("final", self.final, 0, 1)
        _check("factor", self.factor, 0, 1)
        for milestone in self.milestones:
            _check("milestones", milestone, 0, 1)
        if self.shape not in ("cosine", "steps", "constant"):
            raise ConfigError(f"schedule shape is {self.shape!r}: expected cosine, steps or constant")

    def share(self, progress: float) -> float:
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
        first = self.share(begin)
        # Steps jump: within a round the rate stays what it was when the round began.
        last = first if self.shape == "steps" and begin >= self.warmup else self.share(end)
        return Decision(knobs=_with_rate(task.knobs, last), ramp_from=_with_rate(task.knobs, first))


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Lowers the rate when tune AP stalls."""

    rounds: int = 2
    """Rounds without a better tune AP before the rate is lowered."""
    factor: float = 0.3
    """What the rate is multiplied with."""
    margin: float = 0.002
    """How much better counts as better, in AP."""
    warmup: float = 0.05
    """Share of the budget the warm-up takes."""
    warmup_from: float = 0.1
    """Share of the rate the warm-up begins at."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}: expected 1 or more")
        _check("factor", self.factor, 0, 1)
        _check("margin", self.margin, 0, 1)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the rate that follows from when tune AP last improved."""
        best, stalled, share = -1.0, 0, 1.0
        for one in history:
            if one.tune.ap > best + self.margin:
                best, stalled = one.tune.ap, 0
            else:
                stalled += 1
            if stalled >= self.rounds:
                share, stalled = share * self.factor, 0
        warm = Schedule(shape="constant", warmup=self.warmup, warmup_from=self.warmup_from)
        ramped = warm.decide(history, task, budget)
        assert ramped.ramp_from is not None
        base = task.knobs.lr
        return Decision(
            knobs=_with_rate(task.knobs, share * ramped.knobs.lr / base),
            ramp_from=_with_rate(task.knobs, share * ramped.ramp_from.lr / base),
        )


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Early stopping: ends the run when tune AP has not improved for a number of rounds."""

    controller: Controller
    rounds: int = 5
    margin: float = 0.0
    """How much better counts as better, in AP."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}: expected 1 or more")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the inner controller wants to be measured."""
        return measures_of(self.controller)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the inner controller's decision, with the order to stop if it is time."""
        decision = self.controller.decide(history, task, budget)
        best, since = -1.0, 0
        for one in history:
            best, since = (one.tune.ap, 0) if one.tune.ap > best + self.margin else (best, since + 1)
        if since >= self.rounds:
            stop = f"tune AP has not risen above {best:.4f} for {since} rounds"
            return Decision(knobs=decision.knobs, ramp_from=decision.ramp_from, stop=stop)
        return decision


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


def _with_rate(knobs: Knobs, share: float) -> Knobs:
    """Returns the knobs with a share of their rate, which stays inside its range."""
    return knobs if share == 1.0 else knobs.replace(lr=ranges()["lr"].clip(knobs.lr * share))


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}: expected {low} to {high}")
