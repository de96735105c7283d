"""Planners: controllers that try before they decide, on lanes beside the run that begin where it is.

A lookahead, a population and the best of some settings are this. What they try is trained for real, counts as images
that the run has paid for, and leaves no trace in the run itself: of all that was tried only the decisions go into it,
so the record of the run is a schedule that can be replayed like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.history import Round


class Trials(Protocol):
    """Lanes to try on. All of them have the run's task and seed, so what is played on one can be played by the run."""

    @property
    def histories(self) -> Sequence[Sequence[Round]]:
        """The rounds of every lane, those of the run before it among them."""

    def begin(self, lanes: int) -> None:
        """Makes so many lanes that are where the run is."""

    def play(self, decisions: Sequence[Decision]) -> None:
        """Plays a round on every lane."""

    def inherit(self, parents: Sequence[int]) -> None:
        """Gives every lane the state and the history of another, or its own, all of them at once."""


class Planner:
    """What our planners inherit, and yours may: a controller with a method `plan` in place of `decide`."""

    def plan(self, trials: Trials, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Sequence[Round]:
        """Tries, and returns the rounds to be played next: one or more that were played on a lane.

        A function of its arguments and of what comes of the trials. It is asked again after the last of them.

        Args:
            trials: where to try.
            history: of the run.
            task: what is trained.
            budget: of the run; no more rounds than are left of it.
        """
        raise NotImplementedError

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Raises ConfigError: without lanes to try on, nothing can be decided."""
        raise ConfigError(
            f"{type(self).__name__} tries before it decides, which only a run can do that begins with it (mapopt "
            "train, mapopt compare): replay the run that it made, or take another controller"
        )


def best_lane(histories: Sequence[Sequence[Round]], since: int, *, last: bool = False) -> int:
    """Returns the lane with the best val AP of some rounds, of equal ones the first.

    Args:
        histories: of the lanes.
        since: the first round that counts.
        last: only the last round counts.
    """
    scores = [max(played.val.ap for played in rounds[-1 if last else since :]) for rounds in histories]
    return scores.index(max(scores))
