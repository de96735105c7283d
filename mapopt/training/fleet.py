"""A fleet trains many lanes behind the trainer's interface, and a trainer is a fleet of one.

Lanes of the tiny detector are one network; any other detector's lanes are trained in turn. A lane's numbers do not
depend on its neighbours, so a comparison may pack its seeds as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.interface import Detector
from mapopt.detectors.registry import supports_lanes
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, Report
from mapopt.training.deadline import Deadline
from mapopt.training.engine import LaneEngine
from mapopt.training.history import Interval, Measure, Scores
from mapopt.training.knobs import Knobs
from mapopt.training.ramps import Via
from mapopt.training.snapshots import Snapshot
from mapopt.training.steps import check_shared
from mapopt.training.task import Task, check_alike

T = TypeVar("T")


class Fleet:
    """Trains and evaluates many lanes.

    Args:
        tasks: one for all lanes, or one per lane; all alike, as `mapopt.training.task.check_alike` says.
        seeds: one per lane: initialisation, order of the data and augmentation.
        device: where to train.
        processes: that share every step and every evaluation; of a fleet of one lane.

    Attributes:
        measures: what a run measures of every round beside what its controllers ask for.
        on_step: called after every step with the images of the interval that the first lane has trained on.
        deadline: when training has to end: after a step it then raises `mapopt.errors.TimeUp`, and the round is lost.
    """

    def __init__(
        self,
        tasks: Task | Sequence[Task],
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        if not seeds:
            raise ConfigError("a fleet without lanes: give at least one seed")
        each = [tasks] * len(seeds) if isinstance(tasks, Task) else list(tasks)
        if len(each) != len(seeds):
            raise ConfigError(f"{len(each)} tasks were given for {len(seeds)} seeds: give one task, or one per seed")
        check_alike(each)
        self.lanes, self.processes = len(seeds), processes
        if processes.several:
            if self.lanes > 1:
                raise ConfigError(
                    f"{self.lanes} lanes with {processes.count} processes: expected one lane, whose steps they share, "
                    "or a single process"
                )
            check_shared([each[0].recipe.batch_size], each[0].recipe.batch_size, processes.count)
        if supports_lanes(each[0].recipe.detector):
            self._engines = [LaneEngine(each, seeds, device=device, processes=processes)]
        else:
            self._engines = [
                LaneEngine([task], [seed], device=device, processes=processes)
                for task, seed in zip(each, seeds, strict=True)
            ]
        self.measures: tuple[Measure, ...] = ()
        self.on_step: Callable[[int], object] = int
        self.deadline: Deadline | None = None
        self._place = [(engine, lane) for engine in self._engines for lane in range(engine.lanes)]

    @property
    def tasks(self) -> list[Task]:
        """The task of each lane."""
        return [engine.tasks[lane] for engine, lane in self._place]

    @property
    def detectors(self) -> list[Detector]:
        """What is trained: a detector of all lanes, or a detector per lane."""
        return [engine.detector for engine in self._engines]

    @property
    def knobs(self) -> list[Knobs]:
        """The knobs each lane has now."""
        return [engine.knobs[lane] for engine, lane in self._place]

    @property
    def images(self) -> list[int]:
        """Images each lane has trained on."""
        return [engine.seen[lane] for engine, lane in self._place]

    def set_knobs(self, knobs: Sequence[Knobs]) -> None:
        """Sets every lane's knobs; they hold from the next step on. What they leave open is as in the lane's task.

        Raises:
            ConfigError: an own knob is missing, unknown or out of its range.
        """
        if len(knobs) != self.lanes:
            raise ConfigError(f"{len(knobs)} settings were given for {self.lanes} lanes")
        for (engine, lane), setting in zip(self._place, knobs, strict=True):
            setting.check(engine.tasks[lane].ranges)
            engine.knobs[lane] = setting.filled_from(engine.tasks[lane].knobs).settled()

    def train(
        self,
        images: int,
        *,
        ramp_from: Sequence[Knobs | None] | None = None,
        via: Sequence[Via] | None = None,
        active: Sequence[bool] | None = None,
        measures: Sequence[Measure] = (),
    ) -> list[Interval]:
        """Trains every active lane on `images` further images; see `LaneEngine.train`."""
        tasks = self.tasks
        starts = [
            start and start.filled_from(task.knobs).settled()
            for start, task in zip(ramp_from or [None] * self.lanes, tasks, strict=True)
        ]
        bends: list[Via] = [
            tuple((fraction, knobs.filled_from(task.knobs).settled()) for fraction, knobs in points)
            for points, task in zip(via or [()] * self.lanes, tasks, strict=True)
        ]
        wanted = list(active) if active is not None else [True] * self.lanes
        intervals: list[Interval] = []
        for engine in self._engines:
            first = len(intervals)
            mine = slice(first, first + engine.lanes)
            engine.on_step = self._after_step(engine)
            intervals += engine.train(
                images, ramp_from=starts[mine], via=bends[mine], active=wanted[mine], measures=measures
            )
        return intervals

    def _after_step(self, engine: LaneEngine) -> Callable[[int], object]:
        """Returns what is called after every step of an engine."""
        on_step, deadline = self.on_step if engine is self._engines[0] else int, self.deadline
        if deadline is None:
            return on_step

        def after(images: int) -> None:
            on_step(images)
            deadline.check()

        return after

    def evaluate(
        self,
        split: Literal["val", "test"] = "val",
        *,
        mode: Literal["full", "reward"] = "reward",
        lanes: Sequence[int] | None = None,
    ) -> list[Report]:
        """Evaluates lanes, all by default; leaves no trace in the training."""
        return self._ask(lanes, lambda engine, mine: engine.evaluate(split, mode=mode, lanes=mine))

    def score(
        self,
        split: Literal["val", "test"] = "val",
        *,
        measures: Sequence[Measure] = (),
        lanes: Sequence[int] | None = None,
    ) -> list[Scores]:
        """Evaluates lanes, all by default, as for a reward, and measures what else is asked for."""
        return self._ask(lanes, lambda engine, mine: engine.score(split, measures=measures, lanes=mine))

    def losses(
        self, split: Literal["val", "test"] = "val", *, lanes: Sequence[int] | None = None
    ) -> list[dict[str, float]]:
        """Returns the unweighted losses of lanes, all by default, on a split; see `LaneEngine.losses`."""
        return self._ask(lanes, lambda engine, mine: engine.losses(split, lanes=mine))

    def detect(self, split: Literal["train", "val", "test"], *, lanes: Sequence[int] | None = None) -> list[Detections]:
        """Returns the boxes of lanes, all by default, in original pixels; images are named by their positions."""
        return self._ask(lanes, lambda engine, mine: engine.detect(split, lanes=mine))

    def snapshot(self, lane: int) -> Snapshot:
        """Copies a lane's state."""
        engine, place = self._place[lane]
        return engine.snapshot(place)

    def for_detection(self, lane: int) -> Snapshot:
        """Copies what detection needs of a lane; see `LaneEngine.for_detection`."""
        engine, place = self._place[lane]
        return engine.for_detection(place)

    def restore(self, lane: int, snapshot: Snapshot, *, keep_knobs: bool = False) -> None:
        """Puts a state into a lane: its own, or another lane's; see `LaneEngine.restore`."""
        engine, place = self._place[lane]
        engine.restore(place, snapshot, keep_knobs=keep_knobs)

    def check(self, snapshot: Snapshot) -> None:
        """Raises CheckpointError unless a state can be put into the lanes."""
        self._engines[0].check(snapshot)

    def reset(self, lane: int, seed: int, task: Task | None = None) -> None:
        """Starts a lane afresh, on other data if a task is given; see `LaneEngine.reset`."""
        engine, place = self._place[lane]
        engine.reset(place, seed, task)

    def lend(self, lane: int, other: int) -> None:
        """Gives a lane that rests the task of another one, so that it holds no images of its own until its reset."""
        engine, place = self._place[lane]
        lender, lent = self._place[other]
        engine.lend(place, lender.tasks[lent])

    def renew(self, lane: int) -> None:
        """Begins a lane's optimizer and average anew, from the weights that it has."""
        engine, place = self._place[lane]
        engine.renew(place)

    def _ask(self, lanes: Sequence[int] | None, ask: Callable[[LaneEngine, list[int]], list[T]]) -> list[T]:
        """Asks the engines for something of lanes, each for its own at once, and returns it in the lanes' order."""
        chosen = list(range(self.lanes)) if lanes is None else list(lanes)
        answers: dict[int, T] = {}
        for engine in self._engines:
            mine = [lane for lane in chosen if self._place[lane][0] is engine]
            if mine:
                answers |= zip(mine, ask(engine, [self._place[lane][1] for lane in mine]), strict=True)
        return [answers[lane] for lane in chosen]


class Trainer:
    """Trains one detector; ``train(images)`` is a function of state and knobs and of nothing else.

    Args:
        task: recipe, starting knobs and data.
        seed: initialisation, order of the data and augmentation.
        device: where to train.
        processes: that share every step and every evaluation.

    >>> from mapopt.data import ShapesConfig, make_shapes_splits
    >>> splits = make_shapes_splits(ShapesConfig(), seed=0, train=16, val=8, test=8)
    >>> trainer = Trainer(Task(name="demo", splits=splits), seed=0)
    >>> trainer.train(32).steps
    2
    """

    def __init__(
        self, task: Task, seed: int = 0, *, device: torch.device | str = "cpu", processes: Processes = ALONE
    ) -> None:
        self.fleet = Fleet(task, [seed], device=device, processes=processes)

    @property
    def task(self) -> Task:
        """What is trained, and on what."""
        return self.fleet.tasks[0]

    @property
    def knobs(self) -> Knobs:
        """The knobs of now."""
        return self.fleet.knobs[0]

    @property
    def images(self) -> int:
        """Images trained so far."""
        return self.fleet.images[0]

    def set_knobs(self, knobs: Knobs) -> None:
        """Sets the knobs; they hold from the next step on."""
        self.fleet.set_knobs([knobs])

    def train(self, images: int, *, ramp_from: Knobs | None = None, via: Via = ()) -> Interval:
        """Trains on further images, with the knobs moving from `ramp_from` to the present ones if it is given.

        Args:
            images: a multiple of the batch size.
            ramp_from: the knobs at the beginning.
            via: where they pass on the way; see `mapopt.training.Decision`.
        """
        return self.fleet.train(images, ramp_from=[ramp_from], via=[via])[0]

    def evaluate(self, split: Literal["val", "test"] = "val", *, mode: Literal["full", "reward"] = "full") -> Report:
        """Evaluates; touches no random stream, mode or statistic of the training."""
        return self.fleet.evaluate(split, mode=mode)[0]

    def detect(self, split: Literal["train", "val", "test"]) -> Detections:
        """Returns the boxes on a split, in original pixels; images are named by their positions."""
        return self.fleet.detect(split)[0]

    def snapshot(self) -> Snapshot:
        """Copies the state."""
        return self.fleet.snapshot(0)

    def restore(self, snapshot: Snapshot, *, keep_knobs: bool = False) -> None:
        """Takes a state back: everything to resume, or with `keep_knobs` all but knobs and seed."""
        self.fleet.restore(0, snapshot, keep_knobs=keep_knobs)

    def reset(self, seed: int) -> None:
        """Starts afresh."""
        self.fleet.reset(0, seed)
