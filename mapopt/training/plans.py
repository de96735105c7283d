"""Gives planners lanes to try on, keeps to what they planned, and counts what their trials cost.

In a folder of a run the plan is kept as a file, so that a run that was killed goes on with it, and so that it can be
replayed before the run is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mapopt.errors import ConfigError, MapoptError
from mapopt.files import write_record
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision, Wrapper
from mapopt.training.controllers.fixed import SCHEDULE_FORMAT, SCHEDULE_VERSION, load_replay, read_schedule
from mapopt.training.fleet import Fleet
from mapopt.training.history import Measure, Round

Advance = Callable[..., list[Round]]
"""`mapopt.training.loop.advance`, which this module stands below."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What trials cost beyond the rounds of theirs that become the run's own."""

    images: int = 0
    evaluated: int = 0
    seconds: float = 0.0
    """By the clock, of all that was tried: the run's own rounds are computed once more."""
    processor_seconds: float = 0.0

    def part(self, place: int, rounds: int) -> Spent:
        """Returns what one of some rounds bears of it; together they bear it all."""
        images, evaluated = (
            total * (place + 1) // rounds - total * place // rounds for total in (self.images, self.evaluated)
        )
        return Spent(
            images=images,
            evaluated=evaluated,
            seconds=self.seconds / rounds,
            processor_seconds=self.processor_seconds / rounds,
        )


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """A plan: the decisions of a run from its beginning on, of which those from `first` on were planned together."""

    first: int
    decisions: tuple[Decision, ...]
    spent: Spent

    def holds(self, history: Sequence[Round]) -> bool:
        """Returns whether it says what comes after a history."""
        return self.first <= len(history) < len(self.decisions) and self.decisions[: len(history)] == tuple(
            map(Decision.of, history)
        )


class LaneTrials:
    """Lanes beside a lane of a fleet; see `Trials`."""

    def __init__(
        self,
        fleet: Fleet,
        lane: int,
        history: Sequence[Round],
        budget: Budget,
        advance: Advance,
        measures: Sequence[Measure],
        sides: dict[int, Fleet],
    ) -> None:
        self._fleet, self._lane, self._history, self._sides = fleet, lane, list(history), sides
        self._budget, self._advance, self._measures = budget, advance, measures
        self._side: Fleet | None = None
        self._images = self._evaluated = 0
        self._seconds = self._processor_seconds = 0.0
        self.histories: list[list[Round]] = []
        """The rounds of every lane, those of the run before it among them."""

    def begin(self, lanes: int) -> None:
        """Makes so many lanes that are where the run is."""
        task, device = self._fleet.tasks[self._lane], self._fleet.detectors[0].weights.device
        if lanes not in self._sides:
            self._sides[lanes] = Fleet(task, [0] * lanes, device=device)
        self._side, here = self._sides[lanes], self._fleet.snapshot(self._lane)
        for lane in range(lanes):
            if self._side.tasks[lane] is not task:
                self._side.reset(lane, 0, task)
            self._side.restore(lane, here)
        self.histories = [list(self._history) for _ in range(lanes)]

    def play(self, decisions: Sequence[Decision]) -> None:
        """Plays a round on every lane."""
        side = self._begun()
        rounds = self._advance(side, decisions, self.histories, self._budget.interval, measures=self._measures)
        for history, played in zip(self.histories, rounds, strict=True):
            before = history[-1] if history else None
            self._images += played.interval.images
            self._evaluated += played.evaluated - (before.evaluated if before else 0)
            self._seconds += played.seconds - (before.seconds if before else 0.0)
            # Unknown only after records of former versions.
            earlier = before.processor_seconds if before else 0.0
            if played.processor_seconds is not None and earlier is not None:
                self._processor_seconds += played.processor_seconds - earlier
            history.append(played)

    def inherit(self, parents: Sequence[int]) -> None:
        """Gives every lane the state and the history of another, or its own, all of them at once."""
        side, histories = self._begun(), self.histories
        states = {parent: side.snapshot(parent) for lane, parent in enumerate(parents) if parent != lane}
        for lane, parent in enumerate(parents):
            if parent != lane:
                side.restore(lane, states[parent])
        self.histories = [list(histories[parent]) for parent in parents]

    def spent(self, rounds: Sequence[Round]) -> Spent:
        """Returns what was spent beyond some rounds that become the run's own."""
        return Spent(
            images=self._images - sum(played.interval.images for played in rounds),
            evaluated=self._evaluated - len(rounds) * len(self._fleet.tasks[self._lane].splits.val),
            seconds=self._seconds,
            processor_seconds=self._processor_seconds,
        )

    def _begun(self) -> Fleet:
        if self._side is None:
            raise ConfigError("trials were played before any lane was made: call begin(lanes) first")
        return self._side


class Plans:
    """The controllers of a fleet, those that plan bound to its lanes.

    Args:
        fleet: the lanes.
        controllers: one per lane.
        budget: of every run.
        advance: plays a round.
        measures: what is measured of every round.
        file: where to keep the plan of a run; None for more runs than one, or where nothing is kept.
    """

    def __init__(
        self,
        fleet: Fleet,
        controllers: Sequence[Controller],
        budget: Budget,
        *,
        advance: Advance,
        measures: Sequence[Measure],
        file: Path | None = None,
    ) -> None:
        self._fleet, self._budget, self._advance, self._measures = fleet, budget, advance, measures
        self._file = file
        self._sides: dict[int, Fleet] = {}
        self._ahead: dict[int, _Ahead] = {}
        self.controllers = [self._bound(controller, lane) for lane, controller in enumerate(controllers)]
        """As ordinary controllers."""

    def _bound(self, controller: Controller, lane: int) -> Controller:
        if isinstance(controller, Wrapper):
            return replace(controller, controller=self._bound(controller.controller, lane))
        return _Bound(self, controller, lane) if callable(getattr(controller, "plan", None)) else controller

    def decision(self, planner: Any, lane: int, history: Sequence[Round], task: TaskInfo) -> Decision:
        """Returns what was planned for the round after a history, or plans it."""
        ahead = self._ahead.get(lane) or self._read()
        if ahead is None or not ahead.holds(history):
            ahead = self._plan(planner, lane, history, task)
        self._ahead[lane] = ahead
        return ahead.decisions[len(history)]

    def charge(self, lane: int, played: Round) -> Round:
        """Returns a round of a lane with its part of what the trials cost."""
        ahead = self._ahead.get(lane)
        if ahead is None:
            return played
        part = ahead.spent.part(played.index - ahead.first, len(ahead.decisions) - ahead.first)
        processor = played.processor_seconds
        return replace(
            played,
            images=played.images + part.images,
            evaluated=played.evaluated + part.evaluated,
            seconds=played.seconds + part.seconds,
            processor_seconds=None if processor is None else processor + part.processor_seconds,
        )

    def _plan(self, planner: Any, lane: int, history: Sequence[Round], task: TaskInfo) -> _Ahead:
        trials = LaneTrials(self._fleet, lane, history, self._budget, self._advance, self._measures, self._sides)
        rounds = planner.plan(trials, history, task, self._budget)
        left = self._budget.rounds - len(history)
        if not 1 <= len(rounds) <= left or not all(isinstance(played, Round) for played in rounds):
            raise ConfigError(
                f"{type(planner).__name__} planned {len(rounds)} rounds after {len(history)} of {self._budget.rounds}: "
                f"expected 1 to {left} that were played on a lane"
            )
        decisions = (*map(Decision.of, history), *map(Decision.of, rounds))
        ahead = _Ahead(first=len(history), decisions=decisions, spent=trials.spent(rounds))
        if self._file is not None:
            _write(self._file, ahead)
        return ahead

    def _read(self) -> _Ahead | None:
        """Returns the plan in the file; None where there is none that could be used."""
        if self._file is None or not self._file.is_file():
            return None
        try:
            record, decisions = read_schedule(self._file), load_replay(self._file).decisions
            return _Ahead(first=int(record["first"]), decisions=decisions, spent=Spent(**record["spent"]))
        except (MapoptError, KeyError, TypeError, ValueError):
            # Planning once more costs time, and gives the same.
            return None


@dataclass(frozen=True)
class _Bound:
    """A planner with the lanes to try on: decides as any controller."""

    plans: Plans
    planner: Any
    lane: int

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns what was planned for the coming round."""
        return self.plans.decision(self.planner, self.lane, history, task)


def _write(path: Path, ahead: _Ahead) -> None:
    """Writes a plan as a schedule that `--controller replay` reads."""
    record = {
        "format": SCHEDULE_FORMAT,
        "version": SCHEDULE_VERSION,
        "first": ahead.first,
        "spent": vars(ahead.spent),
        "decisions": [decision.as_dict() for decision in ahead.decisions],
    }
    write_record(path, record)
