"""Controllers that look at nothing but the number of rounds: constant knobs, a schedule, a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mapopt.errors import ConfigError, MapoptError, StoreError, shown
from mapopt.files import read_json_lines, read_record
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, with_rate
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.controllers.rate import RateShape
from mapopt.training.controllers.ways import decide_along
from mapopt.training.history import JSON_LINES, Round
from mapopt.training.knobs import Knobs

SCHEDULE_FORMAT, SCHEDULE_VERSION = "mapopt schedule", 3
"""Of the files that hold the decisions of one episode."""


@dataclass(frozen=True)
class Constant:
    """Keeps the task's knobs."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the task's knobs, whatever happened."""
        return Decision(knobs=task.knobs)


@dataclass(frozen=True, kw_only=True)
class Schedule(KnobMoves, RateShape):
    """A learning rate that follows the budget, a linear warm-up, then cosine, steps or nothing; and knobs that move.

    A step has the values of its middle, wherever rounds begin and end: a warm-up may end, steps may fall and a knob may
    bend or jump inside a round. Only cosine, which is no straight line, is one between the round's ends, or from a bend
    inside a round to the next. What is not read at every step is that of the round's end: the batch's fraction, and
    what only the evaluation reads; where a knob jumps there, the value before.

    Raises:
        ConfigError: a setting is out of its range, or a knob's points are not inside the run or do not rise.

    >>> schedule = Schedule(assign_iou=(0.25, 0.45), surrogate_weight={0: 0, 0.7: 0, 0.75: 1})
    >>> schedule.moved(Knobs(), 0.725).surrogate_weight
    0.5
    """

    def __post_init__(self) -> None:
        RateShape.__post_init__(self)
        KnobMoves.__post_init__(self)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the knobs at the coming round's ends, and where they bend or jump inside."""
        self.check_knobs(task.ranges)
        moves = self.moves_of(task.knobs)
        bends = [*self.bends(), *(at for points in moves.values() for at, _ in points)]
        return decide_along(partial(self._at, task), bends, len(history), budget)

    def _at(self, task: TaskInfo, progress: float, before: bool) -> Knobs:
        """Returns a task's knobs after a fraction of the budget; where they jump, those after it or those before."""
        fraction = self.fraction_before(progress) if before else self.fraction(progress)
        return self.moved(with_rate(task.knobs, fraction), progress, before=before)


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
