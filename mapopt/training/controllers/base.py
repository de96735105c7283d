"""What a controller is and what it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import Knobs, Range, ranges
from mapopt.training.ramps import Via, checked_via


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The knobs of the coming round.

    Raises:
        ConfigError: the points on the way are not inside the round, do not rise, or have nothing to begin from.

    >>> up, down = Knobs(lr=0.1), Knobs(lr=0.01)
    >>> Decision(knobs=down, ramp_from=down, via=((0.25, up), (0.5, up))).via[0][0]
    0.25
    """

    knobs: Knobs
    ramp_from: Knobs | None = None
    """If given, the knobs move from these to `knobs`, step by step."""
    via: Via = ()
    """Where they pass on the way: fractions of the round, rising, each with the knobs there. Between two points they
    move linearly; two points at the same fraction are a jump."""
    stop: str = ""
    """If not empty, the run ends before the round, for this reason."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "via", checked_via(self.via, self.ramp_from))

    @classmethod
    def of(cls, played: Round) -> Decision:
        """Returns the decision that a round was played with."""
        return cls(knobs=played.knobs, ramp_from=played.ramp_from, via=played.via)

    def turned(self, change: Callable[[Knobs], Knobs]) -> Decision:
        """Returns the decision with all of its knobs changed: at the ends of the round and on the way."""
        return replace(
            self,
            knobs=change(self.knobs),
            ramp_from=None if self.ramp_from is None else change(self.ramp_from),
            via=tuple((fraction, change(knobs)) for fraction, knobs in self.via),
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the knobs as plain numbers, as records of rounds have them."""
        start = self.ramp_from
        record = {"knobs": self.knobs.as_dict(), "ramp_from": None if start is None else start.as_dict()}
        return record | ({"via": [[at, knobs.as_dict()] for at, knobs in self.via]} if self.via else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Decision:
        """Reads what `as_dict` or `Round.as_dict` wrote."""
        start = record["ramp_from"]
        return cls(
            knobs=Knobs.from_record(record["knobs"]).settled(),  # what there was not yet was not at work
            ramp_from=None if start is None else Knobs.from_record(start).settled(),
            via=tuple((fraction, Knobs.from_record(knobs).settled()) for fraction, knobs in record.get("via", ())),
        )


class Controller(Protocol):
    """Whatever decides the knobs: any object with this method, or a function of the same three arguments.

    One that reads more of a round than AP has an attribute ``measures`` that says what; see `measures_of`. It starts
    from ``task.knobs``, which hold the knobs of a task's own parts, too, and turns them inside ``task.ranges``.
    `mapopt.training.testing` has `check_controller`, the properties that all controllers share.

    >>> class Halves:
    ...     def decide(self, history, task, budget):
    ...         return Decision(knobs=task.knobs.replace(lr=task.knobs.get("lr") / 2 ** len(history)))
    >>> from mapopt.training.testing import check_controller
    >>> check_controller(Halves())
    """

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Decides the round that follows `history`; a function of its arguments only."""


def measures_of(controller: Controller) -> tuple[Measure, ...]:
    """Returns what a controller wants to be measured of every round beside AP: its ``measures``, if it has any."""
    return getattr(controller, "measures", ())


def check_knobs(controller: Controller, known: Mapping[str, Range]) -> None:
    """Raises ConfigError where a controller is to move knobs that a task does not have, or out of their ranges.

    Args:
        controller: one that has a method ``check_knobs`` says so itself; any other is taken as it is.
        known: name -> range of all of the task's knobs, as `mapopt.training.Task.ranges`.
    """
    check = getattr(controller, "check_knobs", None)
    if check is not None:
        check(known)


@dataclass(frozen=True, kw_only=True)
class Wrapper:
    """A controller around another one, whose decisions it changes."""

    controller: Controller

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the inner controller wants to be measured."""
        return measures_of(self.controller)

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError where the inner controller is to move knobs that a task does not have."""
        check_knobs(self.controller, known)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the inner controller's decision, or another one."""
        return self.controller.decide(history, task, budget)


def with_rate(knobs: Knobs, fraction: float) -> Knobs:
    """Returns the knobs with a fraction of their rate, which stays inside its range and off where it is off.

    The rate is the learning rate and, where it is on, the relative length of the steps that takes its place.
    """
    if fraction == 1.0:
        return knobs
    changes = {"lr": ranges()["lr"].clip(knobs.get("lr") * fraction)}
    if knobs.step_ratio:
        bounds = ranges()["step_ratio"]
        changes["step_ratio"] = bounds.clip(max(knobs.step_ratio * fraction, bounds.begin))
    return knobs.replace(**changes)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ConfigError unless a setting lies within its range."""
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}: expected {low} to {high}")
