"""The one loop that every run of every method goes through: decide, set the knobs, train, evaluate, record.

An environment is the same `advance` called from outside. The test split is read once, at the end, from the weights
that val AP selected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import Report
from mapopt.stopwatch import Stopwatch
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.controllers.base import Controller, Decision, measures_of
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.history import Measure, Round, Scores
from mapopt.training.plans import Plans
from mapopt.training.run_files import PLAN
from mapopt.training.snapshots import Snapshot
from mapopt.training.task import Task

Observer = Callable[[int, Round], None]
"""Called with (lane, round) after every round."""

Select = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run from its first round to its test."""

    history: tuple[Round, ...]
    status: Literal["finished", "stopped", "diverged"]
    reason: str
    """Why it stopped early; empty if it did not."""
    selected: int
    """Position of the round whose weights were tested; -1 for a run that diverged before its first round ended."""
    val: Scores
    """At the selected round. Selection makes it optimistic: the gap to the test shows by how much."""
    test: Report | None
    """None for a diverged run, which counts as AP 0, and where the test split was left alone."""


def advance(
    fleet: Fleet,
    decisions: Sequence[Decision],
    histories: Sequence[Sequence[Round]],
    images: int,
    *,
    active: Sequence[bool] | None = None,
    measures: Sequence[Measure] = (),
) -> list[Round]:
    """Plays one round on every lane.

    Args:
        fleet: the lanes.
        decisions: one per lane.
        histories: the rounds so far, per lane.
        images: to train on.
        active: lanes to train and to evaluate; a round of another lane means nothing.
        measures: what to measure beside AP, on the val split and of the training.
    """
    watch = Stopwatch()
    decisions = [_filled(decision, task) for decision, task in zip(decisions, fleet.tasks, strict=True)]
    fleet.set_knobs([decision.knobs for decision in decisions])
    intervals = fleet.train(
        images,
        ramp_from=[decision.ramp_from for decision in decisions],
        via=[decision.via for decision in decisions],
        active=active,
        measures=measures,
    )
    playing = [lane for lane in range(fleet.lanes) if active is None or active[lane]]
    scores = dict(zip(playing, fleet.score("val", measures=measures, lanes=playing), strict=True))
    seconds, spent = fleet.processes.spent(*watch.split(len(playing)))
    rounds = []
    for lane, (decision, interval) in enumerate(zip(decisions, intervals, strict=True)):
        before = histories[lane][-1] if histories[lane] else None
        task = fleet.tasks[lane]
        rounds.append(
            Round(
                index=len(histories[lane]),
                knobs=decision.knobs,
                ramp_from=decision.ramp_from,
                via=decision.via,
                interval=interval,
                val=scores[lane] if lane in scores else Scores.failed(task.classes),
                images=interval.images + (before.images if before else 0),
                evaluated=len(task.splits.val) + (before.evaluated if before else 0),
                seconds=seconds + (before.seconds if before else 0.0),
                processor_seconds=_added(spent, before),
            )
        )
    return rounds


def _filled(decision: Decision, task: Task) -> Decision:
    """Returns a decision with what its knobs leave open as in the task."""
    return decision.turned(lambda knobs: knobs.filled_from(task.knobs).settled())


def _added(spent: float, before: Round | None) -> float | None:
    """Returns the processor's seconds up to a round; unknown if those before it are."""
    if before is None:
        return spent
    return None if before.processor_seconds is None else before.processor_seconds + spent


def check_decision(decision: Decision, history: Sequence[Round]) -> None:
    """Raises ConfigError unless a controller has decided something that can be played.

    A run that is stopped before its first round would leave nothing to evaluate.
    """
    if not isinstance(decision, Decision):
        raise ConfigError(
            f"the controller decided something of type {type(decision).__name__}: expected decide(history, task, "
            "budget) to return a Decision"
        )
    if decision.stop and not history:
        raise ConfigError(f"the run was stopped before its first round ({decision.stop}): let it play at least one")


def run_fleet(
    fleet: Fleet,
    controllers: Sequence[Controller],
    budget: Budget,
    *,
    observer: Observer | None = None,
    select: Select = "best",
    tested: bool = True,
) -> list[RunResult]:
    """Runs every lane under its own controller, from its beginning to its test.

    Args:
        fleet: fresh lanes.
        controllers: one per lane.
        budget: images and rounds, the same for every lane.
        observer: called after every round of every lane.
        select: which weights are tested: those of the round with the best val AP, or the last.
        tested: whether the test split is read at the end; a search, which chooses by val AP alone, leaves it alone.
    """
    histories: list[list[Round]] = [[] for _ in range(fleet.lanes)]
    best: dict[int, Snapshot] = {}
    stopped = _play(fleet, controllers, budget, histories, best, observer, None, select)
    reports = _test(fleet, best, histories, select) if tested else [None] * fleet.lanes
    return _conclude(fleet, histories, stopped, reports, select)


def run(
    trainer: Trainer,
    controller: Controller,
    budget: Budget,
    *,
    observer: Observer | None = None,
    checkpoints: CheckpointFolder | None = None,
    history: Sequence[Round] = (),
    best: Snapshot | None = None,
    select: Select = "best",
) -> RunResult:
    """Runs one trainer; with `history` it goes on where that left off.

    Args:
        trainer: fresh, or restored to the end of `history`.
        controller: decides the knobs.
        budget: images and rounds.
        observer: called after every round.
        checkpoints: where to keep the last and the best state after every round.
        history: rounds already played.
        best: what detection needs of the best of them.
        select: which weights are tested.
    """
    kept, histories = {0: best} if best is not None else {}, [list(history)]
    stopped = _play(trainer.fleet, [controller], budget, histories, kept, observer, checkpoints, select)
    return _conclude(trainer.fleet, histories, stopped, _test(trainer.fleet, kept, histories, select), select)[0]


def _play(
    fleet: Fleet,
    controllers: Sequence[Controller],
    budget: Budget,
    histories: list[list[Round]],
    best: dict[int, Snapshot],
    observer: Observer | None,
    checkpoints: CheckpointFolder | None,
    select: Select,
) -> list[str]:
    """Plays rounds until the budgets are spent, adds them to `histories`, and notes the selected states in `best`.

    Returns:
        why each lane was stopped; empty where it was not.
    """
    budget.check(fleet.tasks[0].recipe.batch_size)
    stopped = [_ended(history) for history in histories]
    wanted = {measure for controller in controllers for measure in measures_of(controller)}
    measures = sorted(wanted | {*fleet.measures})
    file = None if checkpoints is None else checkpoints.folder / PLAN
    plans = Plans(fleet, controllers, budget, advance=advance, measures=measures, file=file)
    controllers = plans.controllers
    while True:
        decisions = []
        for lane, controller in enumerate(controllers):
            decision = (
                controller.decide(histories[lane], fleet.tasks[lane].info, budget)
                if not stopped[lane] and len(histories[lane]) < budget.rounds
                else Decision(knobs=fleet.knobs[lane])
            )
            check_decision(decision, histories[lane])
            stopped[lane] = stopped[lane] or decision.stop
            decisions.append(decision)
        active = [not stop and len(history) < budget.rounds for stop, history in zip(stopped, histories, strict=True)]
        if not any(active):
            break
        if fleet.deadline is not None:
            fleet.deadline.check(max((_seconds(history) for history in histories), default=0.0))
        rounds = advance(fleet, decisions, histories, budget.interval, active=active, measures=measures)
        for lane, played in enumerate(rounds):
            if not active[lane]:
                continue
            played = plans.charge(lane, played)
            histories[lane].append(played)
            _check_gradient(fleet.tasks[lane], histories[lane])
            improved = selected_round(histories[lane], select) == len(histories[lane]) - 1
            if improved:
                best[lane] = fleet.for_detection(lane)
            if checkpoints is not None:
                # The last state first: it holds the best, too, where a kill in between leaves that behind.
                checkpoints.save("last", fleet.snapshot(lane), histories[lane])
                if improved:
                    checkpoints.save("best", best[lane], histories[lane])
            if observer is not None:
                observer(lane, played)
            stopped[lane] = stopped[lane] or _ended(histories[lane])
    return stopped


def _seconds(history: Sequence[Round]) -> float:
    """Returns how long the last round took; 0 before there is one."""
    return history[-1].seconds - (history[-2].seconds if len(history) > 1 else 0.0) if history else 0.0


def _test(
    fleet: Fleet, best: Mapping[int, Snapshot], histories: Sequence[Sequence[Round]], select: Select
) -> list[Report]:
    """Tests every lane in its selected state; one whose last round is selected keeps all that it has."""
    for lane, snapshot in best.items():
        if selected_round(histories[lane], select) != len(histories[lane]) - 1:
            fleet.restore(lane, snapshot)
    return fleet.evaluate("test", mode="full")


def _conclude(
    fleet: Fleet,
    histories: Sequence[Sequence[Round]],
    stopped: Sequence[str],
    reports: Sequence[Report | None],
    select: Select,
) -> list[RunResult]:
    results = []
    for lane, history in enumerate(histories):
        diverged = bool(_ended(history))
        chosen = selected_round(history, select)
        results.append(
            RunResult(
                history=tuple(history),
                status="diverged" if diverged else "stopped" if stopped[lane] else "finished",
                reason=stopped[lane],
                selected=chosen,
                val=Scores.failed(fleet.tasks[lane].classes) if diverged else history[chosen].val,
                test=None if diverged else reports[lane],
            )
        )
    return results


def _check_gradient(task: Task, history: Sequence[Round]) -> None:
    """Raises DataError where nothing was learned from in a run's first round, whose gradient was exactly 0.

    Every further round would be like it.
    """
    first = history[0].interval
    if len(history) > 1 or first.diverged or first.gradient_norm_max > 0:
        return
    notes = task.splits.train.annotations
    height, width = task.splits.train.size
    if first.class_loss == 0 and first.box_loss == 0:
        sides = (notes.boxes[:, 2:] - notes.boxes[:, :2]) * task.splits.train.scale.numpy()[notes.images, None]
        largest = sides[sides.prod(axis=1).argmax()]
        reason = (
            "no object is large enough to be assigned; the largest is "
            f"{largest[0]:.2g} x {largest[1]:.2g} pixels in an image of {width} x {height}"
        )
    else:
        reason = "the losses do not depend on the weights"
    raise DataError(
        f"{task.name}: the gradient of the first round was exactly 0: {reason}. "
        "Check the boxes and --size, or the loss."
    )


def selected_round(history: Sequence[Round], select: Select = "best") -> int:
    """Returns the position of the round whose weights count: of equal val APs the earliest."""
    if select == "last" or not history:
        return len(history) - 1
    return max(range(len(history)), key=lambda position: (history[position].val.ap, -position))


def _ended(history: Sequence[Round]) -> str:
    return "a loss or gradient was not finite" if history and history[-1].interval.diverged else ""
