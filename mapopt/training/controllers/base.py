"""What a controller is and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import Knobs, ranges


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The knobs of the coming round."""

    knobs: Knobs
    ramp_from: Knobs | None = None
    """If given, the knobs move from these to `knobs`, step by step."""
    stop: str = ""
    """If not empty, the run ends before the round, for this reason."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the knobs as plain numbers, as records of rounds have them."""
        start = self.ramp_from
        return {"knobs": self.knobs.as_dict(), "ramp_from": None if start is None else start.as_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Decision:
        """Reads what `as_dict` or `Round.as_dict` wrote."""
        start = record["ramp_from"]
        return cls(
            knobs=Knobs.from_record(record["knobs"]), ramp_from=None if start is None else Knobs.from_record(start)
        )


class Controller(Protocol):
    """Whatever decides the knobs: any object with this method, or a function of the same three arguments.

    One that reads more of a round than AP has an attribute ``measures`` that says what; see `measures_of`. It starts
    from ``task.knobs``, which hold the knobs of a task's own parts, too, and turns them inside ``task.ranges``.
    `mapopt.training.testing` has `check_controller`, the properties that all controllers share.

    >>> class Halves:
    ...     def decide(self, history, task, budget):
    ...         return Decision(knobs=task.knobs.replace(lr=task.knobs.lr / 2 ** len(history)))
    >>> from mapopt.training.testing import check_controller
    >>> check_controller(Halves())
    """

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Decides the round that follows `history`; a function of its arguments only."""


def measures_of(controller: Controller) -> tuple[Measure, ...]:
    """Returns what a controller wants to be measured of every round beside AP: its ``measures``, if it has any."""
    return getattr(controller, "measures", ())


def with_rate(knobs: Knobs, fraction: float) -> Knobs:
    """Returns the knobs with a fraction of their learning rate, which stays inside its range."""
    return knobs if fraction == 1.0 else knobs.replace(lr=ranges()["lr"].clip(knobs.lr * fraction))


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ConfigError unless a setting lies within its range."""
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}: expected {low} to {high}")
