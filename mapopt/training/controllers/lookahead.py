"""Planners without a population: greedy lookahead, and the best of some settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mapopt.bounds import LANES, check_seed, check_whole
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.planning import Planner, Trials, best_lane
from mapopt.training.controllers.ways import hold
from mapopt.training.history import Round
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knobs import Knobs, Range


@dataclass(frozen=True, kw_only=True)
class Lookahead(Planner):
    """Tries every knob a step up and a step down from where it is, and takes the step with the best val AP.

    A candidate is held for `rounds` rounds, or what is left of the run; the coming round is its first. Staying is a
    candidate, and of equal ones the one that is taken. A run pays for 1 + 2 x knobs candidates in every round. What the
    task leaves open, and `knobs` does not name, moves as in a schedule.

    Raises:
        ConfigError: a setting makes no sense.

    Reference: Y. Wu et al., "Understanding Short-Horizon Bias in Stochastic Meta-Optimization", ICLR 2018, for what is
    wrong with looking a short way ahead.
    """

    rounds: int = 1
    """How far it looks ahead."""
    knobs: tuple[str, ...] = ("lr",)
    """What it turns."""
    factor: float = 2.0
    """A step: this factor on a logarithmic knob; see `KnobSpace.shift`."""

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds, 1)
        _check_factor("factor", self.factor)

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the knobs that it turns are those of a task."""
        KnobSpace(self.knobs, known)

    def plan(self, trials: Trials, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Sequence[Round]:
        """Returns the first round of the best candidate."""
        now, begun = history[-1].knobs if history else task.knobs, len(history)
        space = KnobSpace(self.knobs, task.ranges)
        steps = [np.eye(len(space))[place] * way for place in range(len(space)) for way in (1.0, -1.0)]
        # At the end of its range a knob stays, which is tried already.
        candidates = list(dict.fromkeys([now, *(space.shift(step, now, scale=self.factor) for step in steps)]))
        trials.begin(len(candidates))
        for played in range(begun, min(begun + self.rounds, budget.rounds)):
            trials.play([hold(knobs, task, played, budget, but=self.knobs) for knobs in candidates])
        return trials.histories[best_lane(trials.histories, begun, last=True)][begun : begun + 1]


@dataclass(frozen=True, kw_only=True)
class BestOfN(Planner):
    """Plays some settings to the end, and takes the one with the best round by val AP.

    The first setting is the schedule itself, the others have every knob moved from it by an offset that is drawn once
    and evenly, the same for every seed and task: what an open loop comes to that is chosen for each instance by itself.
    A run pays for all of them.

    Raises:
        ConfigError: a setting makes no sense.
    """

    n: int = 5
    """How many settings, the schedule itself among them."""
    knobs: tuple[str, ...] = ("lr", "augment", "assign_iou", "box_weight")
    """What differs between them."""
    scale: float = 4.0
    """The largest offset: this factor on a logarithmic knob; see `KnobSpace.shift`."""
    seed: int = 0
    """Of the offsets."""
    schedule: Schedule = field(default_factory=Schedule)
    """What all of them follow."""

    def __post_init__(self) -> None:
        check_whole("n", self.n, 1, LANES)
        check_seed(self.seed)
        _check_factor("scale", self.scale)

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the knobs that differ are those of a task."""
        KnobSpace(self.knobs, known)
        self.schedule.check_knobs(known)

    def offsets(self) -> np.ndarray:
        """Returns float64 ``[n, knobs]`` in [-1, 1], of which the first row is 0."""
        drawn = np.random.default_rng(self.seed).uniform(-1, 1, (self.n, len(self.knobs)))
        drawn[0] = 0
        return drawn

    def plan(self, trials: Trials, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Sequence[Round]:
        """Returns the rounds of the best setting."""
        space, begun = KnobSpace(self.knobs, task.ranges), len(history)
        trials.begin(self.n)
        for played in range(begun, budget.rounds):
            default = self.schedule.decide(trials.histories[0][:played], task, budget)
            trials.play([_shifted(default, space, row, self.scale) for row in self.offsets()])
        return trials.histories[best_lane(trials.histories, begun)][begun:]


def _shifted(decision: Decision, space: KnobSpace, offsets: np.ndarray, scale: float) -> Decision:
    def shift(knobs: Knobs) -> Knobs:
        return space.shift(offsets, knobs, scale=scale)

    return decision.turned(shift)


def _check_factor(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value < float("inf"):
        raise ConfigError(f"{name} is {value!r}: expected a finite factor above 1")
