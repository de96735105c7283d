"""What a shape over a whole run is inside one of its rounds: its ends, and where it bends or jumps between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.knobs import Knobs
from mapopt.training.ramps import TOLERANCE

Way = Callable[[float, bool], Knobs]
"""Takes a fraction of the run, and whether at a jump the knobs before it are meant, to the knobs there."""


def decide_along(way: Way, bends: Iterable[float], played: int, budget: Budget) -> Decision:
    """Returns the round of a run whose knobs follow a way, linear between its bends.

    Args:
        way: the knobs at every fraction of the run.
        bends: fractions of the run at which they bend or jump.
        played: rounds before it.
        budget: of the run.
    """
    begin, end = played / budget.rounds, (played + 1) / budget.rounds
    via: list[tuple[float, Knobs]] = []
    last = begin
    for bend in sorted(set(bends)):
        # Of two that are the same but for rounding, one is enough.
        if last + TOLERANCE < bend < end - TOLERANCE:
            place, last = bend * budget.rounds - played, bend
            sides = dict.fromkeys((way(bend, True), way(bend, False)))
            via += [(place, knobs) for knobs in sides]
    return Decision(knobs=way(end, True), ramp_from=way(begin, False), via=tuple(via))


def hold(knobs: Knobs, task: TaskInfo, played: int, budget: Budget, *, but: Collection[str] = ()) -> Decision:
    """Returns a round of constant knobs, in which what the task leaves open moves as in a schedule.

    So a rival of a schedule differs from it in what it decides, and in nothing else.

    Args:
        knobs: of the round.
        task: what is open there.
        played: rounds before it.
        budget: of the run.
        but: knobs that stay as they are though the task leaves them open.
    """
    moves = KnobMoves()
    moving = {name: points for name, points in moves.moves_of(task.knobs).items() if name not in but}

    def at(progress: float, before: bool) -> Knobs:
        moved = moves.moved(task.knobs, progress, before=before)
        return knobs.replace(**{name: moved.get(name) for name in moving})

    return decide_along(at, (place for points in moving.values() for place, _ in points), played, budget)
