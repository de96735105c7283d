"""Runs groups of seeds in worker processes and puts every run into the store the moment its group is done.

A group is one method on one task with a few seeds as lanes. A store knows which runs it has, so a comparison that was
stopped goes on with the groups that are missing.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import torch

from mapopt.errors import MapoptError
from mapopt.experiments.comparison.config import Experiment
from mapopt.experiments.comparison.store import Cost, Store, StoredRun
from mapopt.metrics import Detections
from mapopt.training.fleet import Fleet
from mapopt.training.history import Round, Scores
from mapopt.training.loop import RunResult, run_fleet
from mapopt.training.task import Task

DRAWN = 6
"""Test images whose boxes every run keeps for the figures."""


@dataclass(frozen=True)
class Group:
    """Seeds of one method on one task that are trained together."""

    task: str
    method: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Message:
    """What a worker tells: a round was played, a group is done, or it failed."""

    group: Group
    kind: str
    """round, done, error (the user's) or crash."""
    rounds: int = 0
    val_ap: float = 0.0
    text: str = ""


def missing_groups(experiment: Experiment, store: Store) -> list[Group]:
    """Returns the groups with runs that the store lacks; a group holds only missing seeds."""
    groups = []
    for task in experiment.tasks:
        for method in experiment.methods:
            key = experiment.key(task, method)
            lacking = [
                seed for seed in range(experiment.seeds) if not store.has(experiment.name, task, method, seed, key)
            ]
            groups += [
                Group(task, method, tuple(lacking[start : start + experiment.lanes]))
                for start in range(0, len(lacking), experiment.lanes)
            ]
    # Groups of the same seeds share their data: a worker that takes every other one draws it once.
    return sorted(groups, key=lambda group: group.seeds)


def work(experiment: Experiment, store: Store, group: Group, device: str, tell: Callable[[Message], None]) -> None:
    """Trains and tests a group and writes its runs into the store."""
    tasks = [experiment.task(group.task, group.method, seed) for seed in group.seeds]
    fleet = Fleet(tasks, group.seeds, device=device)
    controllers = [experiment.methods[group.method].controller.make() for _ in group.seeds]
    latest: dict[int, float] = {}

    def observe(lane: int, one: Round) -> None:
        latest[lane] = one.val.ap
        if lane == max(latest):
            tell(Message(group, "round", one.index + 1, float(np.mean(list(latest.values())))))

    results = run_fleet(fleet, controllers, experiment.budget, observer=observe, select=experiment.select)
    found = fleet.detect("test")
    for lane, result in enumerate(results):
        stored = _stored(experiment, group, lane, tasks[lane], result, device)
        store.write(stored, result.history, _drawn(tasks[lane], found[lane]))
    tell(Message(group, "done", experiment.budget.rounds, float(np.mean([one.val.ap for one in results]))))


def run_groups(
    experiment: Experiment, store: Store, groups: Sequence[Group], *, workers: int, device: str
) -> Iterator[Message]:
    """Runs groups in worker processes, yielding what they tell; ends the workers when it is closed or interrupted.

    Raises:
        MapoptError: a worker met an error of the user's.
        RuntimeError: a worker failed or died.
    """
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    waiting: Any = context.Queue()
    for group in groups:
        waiting.put(group)
    processes = []
    try:
        for _ in range(min(workers, len(groups))):
            process = context.Process(target=_worker, args=(experiment, store, device, waiting, messages), daemon=True)
            process.start()
            processes.append(process)
        left = len(groups)
        while left:
            message = _next(messages, processes)
            if message.kind == "error":
                raise MapoptError(message.text)
            if message.kind == "crash":
                raise RuntimeError(f"{message.group.method} on {message.group.task} failed:\n{message.text}")
            left -= message.kind == "done"
            yield message
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


def _next(messages: Any, processes: Sequence[SpawnProcess]) -> Message:
    while True:
        try:
            message: Message = messages.get(timeout=2.0)
            return message
        except queue.Empty:
            dead = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
            if dead:
                raise RuntimeError(f"a worker died with exit code {dead[0]}; what was finished is kept") from None


def _worker(experiment: Experiment, store: Store, device: str, waiting: Any, messages: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parent = multiprocessing.parent_process()
    # A parent that was killed cannot end its workers: they finish the group they are at, which is kept, and stop.
    while parent is None or parent.is_alive():
        try:
            group = waiting.get(timeout=1.0)
        except queue.Empty:
            return
        try:
            work(experiment, store, group, device, messages.put)
        except MapoptError as error:
            messages.put(Message(group, "error", text=str(error)))
        except Exception:
            messages.put(Message(group, "crash", text=traceback.format_exc()))


def _stored(experiment: Experiment, group: Group, lane: int, task: Task, result: RunResult, device: str) -> StoredRun:
    last = result.history[-1]
    test = Scores.failed(task.classes) if result.test is None else Scores.of(result.test)
    return StoredRun(
        key=experiment.key(group.task, group.method),
        experiment=experiment.name,
        task=group.task,
        method=group.method,
        label=experiment.methods[group.method].label,
        seed=group.seeds[lane],
        status=result.status,
        reason=result.reason,
        selected=result.selected,
        device=device,
        val=result.val,
        test=test,
        stats=tuple(float(value) for value in result.test.stats) if result.test is not None else (0.0,) * 12,
        images=last.images,
        evaluated=last.evaluated + len(task.splits.test),
        seconds=last.seconds,
        search=Cost(**experiment.search_cost(group.task, group.method)),
        training=Cost(**experiment.training_cost(group.method)),
        categories=tuple(task.splits.test.annotations.category_names),
    )


def _drawn(task: Task, found: Detections) -> dict[str, np.ndarray]:
    """Keeps the first test images with truth and boxes, in pixels of the pictures as the network saw them."""
    test = task.splits.test
    notes = test.annotations
    count = min(DRAWN, len(test))
    scale = np.asarray(test.scale, dtype=np.float64)
    mine = found.image_ids < count
    truth = notes.images < count
    return {
        "pixels": test.pixels[:count].numpy(),
        "boxes": found.boxes[mine] * scale[found.image_ids[mine]][:, None],
        "scores": found.scores[mine],
        "labels": found.labels[mine],
        "images": found.image_ids[mine],
        "truth_boxes": notes.boxes[truth] * scale[notes.images[truth]][:, None],
        "truth_labels": notes.labels[truth],
        "truth_images": notes.images[truth],
    }
