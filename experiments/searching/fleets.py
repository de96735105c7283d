"""Packs the runs of searches into fleets, whatever method, setting, task or seed they are of, and trains them.

Lanes of one fleet need one recipe and images of one kind; knobs, controllers, data and seeds are each lane's own. A
lane's numbers do not depend on its neighbors, so any packing gives the same runs, and small fleets only cost more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapopt.detectors.registry import supports_lanes
from mapopt.experiments.comparison.data import splits_of
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.comparison.warm_up import warm_up
from mapopt.experiments.searching.runs import SearchRuns
from mapopt.training import Budget, Fleet, Round, run_fleet
from mapopt.training.task import shared_recipe

FEWEST = 4
"""Lanes of a fleet that is made smaller so that every worker has one: fewer cost too much each."""


@dataclass(frozen=True)
class FleetJob:
    """Runs that train together, each a job with one seed."""

    jobs: tuple[Job, ...]

    @property
    def budget(self) -> Budget:
        """Of every run."""
        return self.jobs[0].budget

    @property
    def images(self) -> int:
        """That all of them train on."""
        return self.budget.images * len(self.jobs)


@dataclass(frozen=True)
class FleetProgress:
    """What a fleet reports when a round of all its lanes is over, and when its runs are kept."""

    fleet: FleetJob
    images: int
    """Trained on so far, by all lanes."""
    val_ap: float
    """The highest of the lanes in that round; at the end, in the rounds that were selected."""
    done: bool = False


def pack(jobs: Sequence[Job], *, lanes: int, workers: int) -> list[FleetJob]:
    """Returns fleets of runs, the most expensive first, so that no worker has a long one left at the end.

    Args:
        jobs: runs, each a job with one seed.
        lanes: at most, in a fleet.
        workers: processes that will train them.
    """
    alike: dict[Any, list[Job]] = {}
    for job in jobs:
        alike.setdefault(_kind(job), []).append(job)
    each = [math.ceil(len(group) / _lanes(group[0], lanes)) for group in alike.values()]
    fleets = []
    for group, parts in zip(alike.values(), each, strict=True):
        if sum(each) < workers:
            parts = max(parts, min(workers // len(each), len(group) // FEWEST))
        size, rest = divmod(len(group), parts)
        start = 0
        for number in range(parts):
            end = start + size + (number < rest)
            fleets.append(FleetJob(tuple(group[start:end])))
            start = end
    return sorted(fleets, key=lambda fleet: -fleet.images)


def train_fleet_job(fleet_job: FleetJob, report: Callable[[FleetProgress], None], *, folder: Path, device: str) -> None:
    """Trains the runs of a fleet, and keeps every one of them.

    Args:
        fleet_job: what to train.
        report: is called with how it goes.
        folder: where runs are kept.
        device: where to train.
    """
    jobs, runs = fleet_job.jobs, SearchRuns(folder)
    warm_up(jobs[0].recipe, device)
    fleet = Fleet([job.make_task(job.seeds[0]) for job in jobs], [job.seeds[0] for job in jobs], device=device)
    controllers = [job.make_controllers(1)[0] for job in jobs]
    latest: dict[int, Round] = {}
    begun = 0

    def observe(lane: int, played: Round) -> None:
        nonlocal begun
        # The first lane of a round reports the rounds before it; any lane may have stopped by then.
        if played.index > begun:
            begun = played.index
            images = sum(each.images for each in latest.values())
            report(FleetProgress(fleet_job, images, max(each.val.ap for each in latest.values())))
        latest[lane] = played

    results = run_fleet(fleet, controllers, fleet_job.budget, observer=observe, select=jobs[0].select, tested=False)
    reached = [runs.write(job, result) for job, result in zip(jobs, results, strict=True)]
    report(FleetProgress(fleet_job, fleet_job.images, max(run.val_ap for run in reached), done=True))


def _lanes(job: Job, lanes: int) -> int:
    """Returns how many runs like a job train together: detectors whose lanes train in turn have nothing of it."""
    return lanes if supports_lanes(job.recipe.detector) else 1


def _kind(job: Job) -> Any:
    """Returns what runs of one fleet have in common, as something that can be a key; see `check_alike`."""
    data = job.data
    if data.data is None:
        images: Any = (data.scenes.classes, data.scenes.size, data.images[1:])
    else:
        splits = splits_of(data, job.seeds[0])
        classes = len(splits.train.annotations.category_ids)
        images = (classes, splits.train.size, len(splits.val), len(splits.test))
    return (repr(shared_recipe(job.recipe)), images, job.budget, job.select)
