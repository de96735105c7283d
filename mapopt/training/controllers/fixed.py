"""Controllers that look at nothing but the number of rounds: constant knobs, a schedule, a replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mapopt.errors import ConfigError, MapoptError, StoreError, shown
from mapopt.files import read_json_lines, read_record
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, check_range, with_rate
from mapopt.training.history import JSON_LINES, Round
from mapopt.training.ramps import TOLERANCE

SCHEDULE_FORMAT, SCHEDULE_VERSION = "mapopt schedule", 3
"""Of the files that hold the decisions of one episode."""


@dataclass(frozen=True)
class Constant:
    """Keeps the task's knobs."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the task's knobs, whatever happened."""
        return Decision(knobs=task.knobs)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate that follows the budget: a linear warm-up, then cosine, steps or nothing.

    A step has the learning rate of its middle, wherever rounds begin and end: a warm-up may end and steps may fall
    inside a round. Only cosine, which is no straight line, is one between the round's ends, or from where the warm-up
    ends to the end of that round.

    Reference: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5
    (one period); P. Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2 (the warm-up).
    """

    shape: Literal["cosine", "steps", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = 0.05
    """Fraction of the budget that the warm-up takes."""
    warmup_from: float = 0.1
    """Fraction of the learning rate that the warm-up begins at."""
    final: float = 0.01
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

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the schedule's learning rate at the coming round's ends, and where it bends or jumps inside."""
        begin, end = len(history) / budget.rounds, (len(history) + 1) / budget.rounds
        via = []
        for bend in self._bends():
            if begin + TOLERANCE < bend < end - TOLERANCE:
                place = bend * budget.rounds - len(history)
                sides = dict.fromkeys((self._before(bend), self.fraction(bend)))
                via += [(place, with_rate(task.knobs, fraction)) for fraction in sides]
        return Decision(
            knobs=with_rate(task.knobs, self._before(end)),
            ramp_from=with_rate(task.knobs, self.fraction(begin)),
            via=tuple(via),
        )

    def _bends(self) -> list[float]:
        """Returns the fractions of the budget at which the learning rate is no straight line, rising."""
        bends = [self.warmup]
        for milestone in sorted(self.milestones) if self.shape == "steps" else ():
            # Before the warm-up ends, steps wait; and of two that are the same but for rounding, one is enough.
            if milestone > bends[-1] + TOLERANCE:
                bends.append(milestone)
        return bends

    def _before(self, progress: float) -> float:
        """Returns what `fraction` comes to from below, which is another value where steps jump."""
        if self.shape != "steps" or progress < self.warmup - TOLERANCE:
            return self.fraction(progress)
        passed = sum(progress > milestone + TOLERANCE for milestone in self.milestones)
        return 1.0 if progress <= self.warmup + TOLERANCE else self.factor**passed


@dataclass(frozen=True)
class Replay:
    """Repeats recorded decisions without looking at the run: the open loop that a policy has to beat."""

    decisions: tuple[Decision, ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, history: Sequence[Round]) -> Replay:
        """Replays a run's own rounds."""
        return cls(tuple(Decision.of(played) for played in history))

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the recorded decision of this round."""
        if len(history) >= len(self.decisions):
            raise ConfigError(
                f"round {len(history) + 1} was asked of a replay of {len(self.decisions)} rounds: "
                "use a budget of as many rounds as were recorded"
            )
        return self.decisions[len(history)]


def load_replay(path: str | Path) -> Replay:
    """Returns the controller that repeats what a file holds.

    Args:
        path: the folder of a run or its ``rounds.jsonl``, or a JSON file that
            `mapopt.envs.wrappers.RecordSchedule` wrote.

    Raises:
        StoreError: there is no such file, or it holds no decisions.
    """
    path = Path(path)
    if path.suffix == ".json":
        records = read_schedule(path).get("decisions", "none")
    else:
        path = path / JSON_LINES if path.is_dir() else path
        records = read_json_lines(path, what="the rounds that `mapopt train` or a Recorder wrote")
    try:
        return Replay(tuple(Decision.from_dict(decision) for decision in records))
    except (KeyError, TypeError, ValueError, AttributeError, MapoptError) as error:
        raise StoreError(
            f"{path}: holds no decisions of this version ({shown(error)}). Record the run again."
        ) from None


def read_schedule(path: str | Path) -> dict[str, Any]:
    """Returns what a file with the decisions of one episode holds.

    Raises:
        StoreError: there is no such file, it is another one, or of another version.
    """
    return read_record(
        path,
        what="a schedule that RecordSchedule wrote",
        format=SCHEDULE_FORMAT,
        version=SCHEDULE_VERSION,
        unsealed=(2,),
        remedy="Record it again.",
    )
