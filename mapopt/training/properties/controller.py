"""The properties of a controller: a function of the history that decides knobs a trainer can have."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from mapopt.errors import ConfigError, MapoptError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision, measures_of
from mapopt.training.history import Interval, Measure, Round, Scores
from mapopt.training.knobs import Knobs, Range
from mapopt.training.properties.base import Case


@dataclass(frozen=True, kw_only=True)
class ControllerCase(Case):
    """A controller, and the task and budget it decides for."""

    controller: Controller
    task: TaskInfo
    budget: Budget

    def decide(self, history: Sequence[Round]) -> Decision:
        """Asks for a decision."""
        try:
            return self.controller.decide(history, self.task, self.budget)
        except Exception as error:
            self.fail(f"after {len(history)} rounds it raised {type(error).__name__} ({error}), expected a Decision")

    def histories(self) -> Iterator[list[Round]]:
        """Yields made-up histories of every length, each with the knobs that the controller decided."""
        for number in range(3):
            played: list[Round] = []
            for _ in range(self.budget.rounds):
                yield list(played)
                decision = self.decide(played)
                self.expect(
                    isinstance(decision, Decision) and isinstance(getattr(decision, "knobs", None), Knobs),
                    f"decided {type(decision).__name__} after {len(played)} rounds, expected a Decision with Knobs",
                )
                if decision.stop:
                    break
                played.append(self.round_after(played, decision, seed=1000 * self.seed + number))

    def round_after(self, history: Sequence[Round], decision: Decision, *, seed: int) -> Round:
        """Makes up the round that follows a decision."""
        generator = np.random.default_rng([seed, len(history)])
        images, ap = self.budget.interval, float(generator.uniform(0, 0.6))
        measured: dict[str, Any] = {
            "calibration_error": 0.2,
            "f1": ap,
            "best_f1": ap,
            "lrp": 1 - ap,
            "optimal_lrp": 1 - ap,
        }
        return Round(
            index=len(history),
            knobs=decision.knobs,
            ramp_from=decision.ramp_from,
            via=decision.via,
            interval=Interval(
                images=images,
                steps=max(1, images // self.task.batch_size),
                seconds=1.0,
                class_loss=float(generator.uniform(0, 2)),
                box_loss=float(generator.uniform(0, 2)),
                gradient_norm=1.0,
                gradient_norm_max=2.0,
                clipped=0.0,
                update_ratio=1e-3,
                diverged=False,
                gradient_ratio=0.1,
                weight_norm=10.0,
                gradient_agreement=float(generator.uniform(-1, 1)),
            ),
            val=Scores(ap=ap, ap50=ap, ap75=ap, ar100=ap, per_category=(ap,) * self.task.classes, **measured),
            images=images * (len(history) + 1),
            evaluated=100 * (len(history) + 1),
            seconds=2.0 * (len(history) + 1),
        )


def _deterministic(case: ControllerCase) -> None:
    """The same history gives the same decision, whatever else was decided before and wherever the history is from."""
    histories = list(case.histories())
    decisions = [case.decide(history) for history in histories]
    for history, decision in reversed(list(zip(histories, decisions, strict=True))):
        reread = [Round.from_dict(json.loads(json.dumps(played.as_dict()))) for played in history]
        for given, how in ((history, "asked again"), (reread, "asked with the same history read from a file")):
            again = case.decide(given)
            case.expect(
                again == decision,
                f"after {len(history)} rounds it decided {_shown(decision)}, and {how} {_shown(again)}: a decision "
                "is a function of the history alone",
            )


def _history_is_left_alone(case: ControllerCase) -> None:
    """A history is not changed by deciding."""
    for history in case.histories():
        before = copy.deepcopy(history)
        case.decide(history)
        case.expect(history == before, f"it changed the history of {len(before)} rounds that it was given")


def _knobs(case: ControllerCase) -> None:
    """The knobs are the task's, each in its range."""
    for history in case.histories():
        decision = case.decide(history)
        way = ((f"via at {fraction:g}", knobs) for fraction, knobs in decision.via)
        for what, knobs in (("knobs", decision.knobs), ("ramp_from", decision.ramp_from), *way):
            if knobs is None and what == "ramp_from":
                continue
            case.expect(
                isinstance(knobs, Knobs), f"{what} is of type {type(knobs).__name__} after {len(history)} rounds"
            )
            try:
                knobs.check(case.task.ranges)  # type: ignore[union-attr]
            except ConfigError as error:
                case.fail(f"{what} after {len(history)} rounds: {error}")


def _stops(case: ControllerCase) -> None:
    """A stop is a text that says why, and never comes before the first round."""
    for history in case.histories():
        stop = case.decide(history).stop
        case.expect(
            isinstance(stop, str), f"stop is of type {type(stop).__name__} after {len(history)} rounds: say why"
        )
        case.expect(history or not stop, f"it stops before the first round ({stop}): nothing would be evaluated")


def _measures(case: ControllerCase) -> None:
    """What it wants to be measured is known."""
    for name in measures_of(case.controller):
        case.expect(
            name in get_args(Measure), f"it asks for the measure {name!r}, expected {' or '.join(get_args(Measure))}"
        )


def _own_knobs_stay(case: ControllerCase) -> None:
    """It decides for a task with an own knob as well, which it leaves among the knobs."""
    own = {**case.task.knobs.own, "an_own_knob": 0.25}
    task = replace(
        case.task,
        knobs=replace(case.task.knobs, own=own),
        ranges={**case.task.ranges, "an_own_knob": Range(0.0, 1.0)},
    )
    try:
        case.controller.decide([], task, case.budget).knobs.check(task.ranges)
    except MapoptError as error:
        case.fail(f"for a task with an own knob: {error}; start from task.knobs, and change them with replace")


CONTROLLER_PROPERTIES: dict[str, Callable[[ControllerCase], None]] = {
    "deterministic": _deterministic,
    "history is left alone": _history_is_left_alone,
    "knobs": _knobs,
    "own knobs stay": _own_knobs_stay,
    "stops": _stops,
    "measures": _measures,
}
"""Every property of a controller, and what checks it."""


def _shown(decision: Any) -> str:
    stop = f", stop={decision.stop!r}" if decision.stop else ""
    return f"lr={decision.knobs.get('lr'):g}{stop}"
