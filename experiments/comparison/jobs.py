"""The jobs of a comparison: groups of seeds of one method on one task, which are trained together as lanes.

A job is resolved once, where the comparison was started, and holds everything that its runs need; workers look nothing
up. Its runs are in the store the moment it is done, so a comparison that was stopped goes on with the jobs that are
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mapopt.agents import agent_fingerprint, load_agent
from mapopt.detectors import ASSIGNMENTS, DETECTORS
from mapopt.detectors.registry import check_size
from mapopt.experiments.comparison.config import Experiment, Searched
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.experiments.comparison.data import splits_of
from mapopt.experiments.comparison.keys import Keys, run_keys
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import Cost, StoredRun
from mapopt.experiments.comparison.task_config import TaskConfig
from mapopt.experiments.comparison.warm_up import warm_up
from mapopt.losses import BOX_LOSSES, make_loss
from mapopt.registry import Registry, is_text
from mapopt.training import (
    OPTIMIZERS,
    Budget,
    Controller,
    Fleet,
    Knobs,
    Recipe,
    Round,
    RunResult,
    Scores,
    Task,
    run_fleet,
)
from mapopt.training.multi_scale import check_sizes

if TYPE_CHECKING:
    from mapopt.metrics import Detections

DRAWN = 6
"""Test images whose boxes every run keeps for the figures."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Runs of one method on one task, with everything that decides them."""

    experiment: str
    task: str
    method: str
    label: str
    keys: Keys
    """Of the runs."""
    data: TaskConfig
    recipe: Recipe
    knobs: Knobs
    controller: ControllerConfig
    agent: str
    """Fingerprint of the agent that has to be there when the job is done; empty for other controllers."""
    budget: Budget
    select: Literal["best", "last"]
    search: Cost
    """Of the search for the method's settings."""
    training: Cost
    """Of the agent, where the method is one."""
    seeds: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """The key of the runs; see `Keys`."""
        return self.keys.whole

    def make_task(self, seed: int, knobs: Knobs | None = None) -> Task:
        """Builds the task of one run, with other knobs if some are given."""
        return Task(name=self.task, splits=splits_of(self.data, seed), recipe=self.recipe, knobs=knobs or self.knobs)

    def make_controllers(self, lanes: int) -> list[Controller]:
        """Returns a controller for every lane."""
        return [self.controller.make(fingerprint=self.agent) for _ in range(lanes)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a comparison reports first: how much there is to do."""

    experiment: str
    rounds: int
    """Of every run."""
    runs: int
    missing: int
    """Runs that are to be trained."""
    store: Path
    replaced: int = 0
    """Stored runs that were asked for otherwise and make room."""
    note: str = ""
    """What is to be known of the stored runs that count."""
    seconds: float | None = None
    """About how long it will take, by the clock; None where nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a job reports: all its lanes have played a round, or its runs are in the store."""

    job: Job
    rounds: int
    val_ap: float
    """Mean over the lanes."""
    done: bool = False


def make_job(
    experiment: Experiment, task: str, method: str, seeds: tuple[int, ...] = (), *, device: str = "cpu"
) -> Job:
    """Resolves some runs of an experiment, on a device.

    Raises:
        MapoptError: a part of the user's own or an agent is not there or not usable, a folder cannot be read, or a
            detector cannot look at images of this size.
    """
    config, outcome = experiment.chosen(task, method), experiment.outcome(task, method)
    data, knobs = experiment.tasks[task], experiment.knobs(task, method)
    _check_own_parts(config.recipe)
    config.controller.make()
    keys = run_keys(
        task=data,
        recipe=config.recipe,
        knobs=knobs,
        controller=config.controller,
        budget=experiment.budget_of(task),
        select=experiment.select,
        device=device,
    )
    size = (data.scenes.size, data.scenes.size) if data.data is None else splits_of(data, 0).train.size
    check_size(config.recipe.detector, size)
    check_sizes(config.recipe, size)
    return Job(
        experiment=experiment.name,
        task=task,
        method=method,
        label=experiment.label(method),
        keys=keys,
        data=data,
        recipe=config.recipe,
        knobs=knobs,
        controller=config.controller,
        agent=agent_fingerprint(config.controller.agent) if config.controller.runs_agent else "",
        budget=experiment.budget_of(task),
        select=experiment.select,
        search=_search_cost(outcome),
        training=_training_cost(config.controller),
        seeds=seeds,
    )


def all_jobs(experiment: Experiment, *, device: str = "cpu") -> list[Job]:
    """Resolves every method on every task, for all seeds at once."""
    seeds = tuple(range(experiment.seeds))
    places = [(task, method) for task in experiment.tasks for method in experiment.methods]
    return [make_job(experiment, task, method, seeds, device=device) for task, method in places]


def train_job(job: Job, report: Callable[[Progress], None], *, store: Store, device: str) -> None:
    """Trains and tests the runs of a job, and writes them into the store."""
    tasks = [job.make_task(seed) for seed in job.seeds]
    warm_up(job.recipe, device)
    fleet = Fleet(tasks, job.seeds, device=device)
    controllers = job.make_controllers(len(job.seeds))
    latest: dict[int, float] = {}

    def observe(lane: int, played: Round) -> None:
        latest[lane] = played.val.ap
        if lane == max(latest):
            report(Progress(job=job, rounds=played.index + 1, val_ap=float(np.mean(list(latest.values())))))

    results = run_fleet(fleet, controllers, job.budget, observer=observe, select=job.select)
    detections = fleet.detect("test")
    # The fleet has the selected weights of every lane.
    tested = fleet.score("test", measures=("limits", "loss"))
    for lane, result in enumerate(results):
        scores = Scores.failed(tasks[lane].classes) if result.test is None else tested[lane]
        stored = _stored(job, lane, tasks[lane], result, scores, device)
        store.write(stored, result.history, _drawn(tasks[lane], detections[lane]))
    val_ap = float(np.mean([result.val.ap for result in results]))
    report(Progress(job=job, rounds=job.budget.rounds, val_ap=val_ap, done=True))


def _check_own_parts(recipe: Recipe) -> None:
    """Imports the parts of a recipe that are the user's own, so that what is wrong with them is said at once."""
    for name, settings in ((recipe.loss, recipe.loss_settings), (recipe.blend_with, recipe.blend_settings)):
        if is_text(name):
            make_loss(name, settings)
    for name in recipe.auxiliary:
        make_loss(name)
    parts: list[tuple[Registry[Any], str]] = [
        *((BOX_LOSSES, recipe.box_loss), (ASSIGNMENTS, recipe.assignment)),
        *((DETECTORS, recipe.detector), (OPTIMIZERS, recipe.optimizer)),
    ]
    for registry, name in parts:
        if is_text(name):
            registry.find(name)


def _training_cost(controller: ControllerConfig) -> Cost:
    if not controller.runs_agent:
        return Cost()
    agent = getattr(load_agent(controller.agent), "agent", None)
    cost = getattr(agent, "training", {}).get("cost", {})
    images, seconds = cost.get("images", 0), cost.get("seconds", 0.0)
    return Cost(images=images, seconds=seconds, processor_seconds=cost.get("processor_seconds"))


def _search_cost(outcome: Searched | None) -> Cost:
    if outcome is None:
        return Cost()
    spent, processor = outcome.seconds, outcome.processor_seconds
    return Cost(runs=outcome.runs, images=outcome.images, seconds=spent, processor_seconds=processor)


def _stored(job: Job, lane: int, task: Task, result: RunResult, tested: Scores, device: str) -> StoredRun:
    last = result.history[-1]
    return StoredRun(
        key=job.key,
        asked=job.keys.asked,
        made_by=job.keys.made_by.as_dict(),
        experiment=job.experiment,
        task=job.task,
        method=job.method,
        label=job.label,
        seed=job.seeds[lane],
        status=result.status,
        reason=result.reason,
        selected=result.selected,
        device=device,
        val=result.val,
        test=tested,
        stats=tuple(float(value) for value in result.test.stats) if result.test is not None else (0.0,) * 12,
        images=last.images,
        evaluated=last.evaluated + len(task.splits.test),
        seconds=last.seconds,
        processor_seconds=last.processor_seconds,
        search=job.search,
        training=job.training,
        categories=tuple(task.splits.test.annotations.category_names),
    )


def _drawn(task: Task, detections: Detections) -> dict[str, np.ndarray]:
    """Keeps the first test images with ground truth and detections, in the pixels that the network saw."""
    test = task.splits.test
    annotations = test.annotations
    count = min(DRAWN, len(test))
    scale = np.asarray(test.scale, dtype=np.float64)
    kept = detections.image_ids < count
    truth = annotations.images < count
    return {
        "pixels": test.pixels[:count].numpy(),
        "boxes": detections.boxes[kept] * scale[detections.image_ids[kept]][:, None],
        "scores": detections.scores[kept],
        "labels": detections.labels[kept],
        "images": detections.image_ids[kept],
        "truth_boxes": annotations.boxes[truth] * scale[annotations.images[truth]][:, None],
        "truth_labels": annotations.labels[truth],
        "truth_images": annotations.images[truth],
    }
