"""The search that every method's settings come from: the same small grid, on val data, on seeds no comparison uses.

All combinations of a method train as lanes of one fleet, so a search costs little more than its images. Every outcome
is kept in a file of its own the moment it is there: a search that was stopped goes on with the others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.config import SEARCH_SEEDS, Experiment, SearchConfig, Searched
from mapopt.experiments.comparison.jobs import Job, make_job
from mapopt.files import read_record, write_json
from mapopt.former_names import translate
from mapopt.settings import from_mapping, to_mapping
from mapopt.stopwatch import Stopwatch
from mapopt.training import Fleet, Knobs, run_fleet


@dataclass(frozen=True)
class Tried:
    """One combination with what it reached."""

    knobs: dict[str, float]
    val_ap: tuple[float, ...]
    """At the selected round, per seed."""
    diverged: int

    @property
    def mean(self) -> float:
        """Mean val AP over the seeds."""
        return float(np.mean(self.val_ap))


@dataclass(frozen=True)
class SearchOutcome:
    """The outcome of one method's search on one task."""

    task: str
    method: str
    tried: tuple[Tried, ...]
    runs: int
    images: int
    seconds: float
    """By the clock."""
    processor_seconds: float | None = None
    """Of the processor; None in outcomes that were kept without it."""

    @property
    def best(self) -> Tried:
        """The combination with the highest mean val AP; of equals the first."""
        return max(self.tried, key=lambda tried: tried.mean)

    @property
    def searched(self) -> Searched:
        """What the configuration keeps of it."""
        processor = None if self.processor_seconds is None else round(self.processor_seconds, 1)
        return Searched(
            knobs=self.best.knobs,
            runs=self.runs,
            images=self.images,
            seconds=round(self.seconds, 1),
            processor_seconds=processor,
        )


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """The search of one method on one task."""

    job: Job
    """What is trained, with the knobs that every combination starts from."""
    search: SearchConfig
    path: Path
    """Where the outcome is kept."""
    former: Path
    """Where versions before `mapopt.experiments.comparison.keys.MadeBy` kept it."""


def search_jobs(experiment: Experiment, folder: Path, *, device: str = "cpu") -> list[SearchJob]:
    """Returns the searches of every method that has a grid, on every task.

    Args:
        experiment: what to search for; what it says of earlier searches has no influence.
        folder: where outcomes are kept.
        device: where to train.

    Raises:
        ConfigError: no method has a grid.
    """
    plain = replace(experiment, searched={})
    jobs = []
    for task in experiment.tasks:
        for method, config in experiment.methods.items():
            if config.search.grid:
                job = make_job(plain, task, method, device=device)
                path, former = (
                    folder / f"{task}-{method}-{_key(key, config.search)}.json" for key in (job.key, job.keys.former)
                )
                jobs.append(SearchJob(job=job, search=config.search, path=path, former=former))
    if not jobs:
        raise ConfigError(f"no method of experiment '{experiment.name}' has a search grid: give one at least a grid")
    return jobs


def _key(key: str, search: SearchConfig) -> str:
    content = json.dumps([key, to_mapping(search)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def kept_outcomes(
    jobs: Sequence[SearchJob], *, accept_stored: bool = False, redo: bool = False
) -> tuple[list[SearchJob], list[SearchOutcome]]:
    """Returns which searches are to be done, and the outcomes of the others.

    Raises:
        ConfigError: `accept_stored` and `redo` contradict each other.
        StoreError: an outcome cannot be read; or other code made some, and nothing was said about that.
    """
    if accept_stored and redo:
        raise ConfigError("--accept-stored counts what other code made and --redo searches it again: give one of them")
    missing = [job for job in jobs if not job.path.exists()]
    older = [job for job in missing if job.former.exists()]
    if older and not accept_stored and not redo:
        raise StoreError(
            f"{older[0].former}: {len(older)} of {len(jobs)} searches were made by other code than what "
            f"{jobs[0].job.keys.made_by} computes. Give --accept-stored to count them, or --redo to search again."
        )
    paths = [job.path if job.path.exists() else job.former for job in jobs]
    kept = [path for path in paths if path.exists() and (accept_stored or path in [job.path for job in jobs])]
    return [job for job in missing if redo or job not in older], [read_outcome(path) for path in kept]


def read_outcome(path: Path) -> SearchOutcome:
    """Reads an outcome that `search_job` kept.

    Raises:
        StoreError: it cannot be read.
    """
    content = read_record(
        path, what="the outcome of a search that `mapopt compare` kept", remedy="Remove it to search again."
    )
    try:
        outcome: SearchOutcome = from_mapping(SearchOutcome, translate(content, "search outcome"), str(path))
    except ConfigError as error:
        raise StoreError(f"{path}: is no outcome of a search ({error}); remove it to search again") from error
    return outcome


def search_job(search: SearchJob, report: Callable[[SearchOutcome], None], *, device: str) -> None:
    """Trains every combination with every seed, and keeps and reports what they reached."""
    job, points = search.job, combinations(search.search.grid)
    seeds = [SEARCH_SEEDS + number for number in range(search.search.seeds)]
    lanes = [(point, seed) for point in points for seed in seeds]
    known = job.recipe.ranges()
    knobs = [Knobs.from_dict({**job.knobs.as_dict(), **point}, known) for point, _ in lanes]
    tasks = [job.make_task(seed, start) for (_, seed), start in zip(lanes, knobs, strict=True)]
    watch = Stopwatch()
    controllers = job.make_controllers(len(lanes))
    results = run_fleet(Fleet(tasks, [seed for _, seed in lanes], device=device), controllers, job.budget)
    seconds, processor = watch.split(1)
    tried = []
    for index, point in enumerate(points):
        runs = results[index * len(seeds) : (index + 1) * len(seeds)]
        diverged = sum(run.status == "diverged" for run in runs)
        tried.append(Tried(point, tuple(run.val.ap for run in runs), diverged))
    images = sum(result.history[-1].images for result in results)
    outcome = SearchOutcome(job.task, job.method, tuple(tried), len(lanes), images, seconds, processor)
    search.path.parent.mkdir(parents=True, exist_ok=True)
    write_json(search.path, asdict(outcome))
    report(outcome)


def as_yaml(outcomes: Sequence[SearchOutcome]) -> str:
    """Returns the section ``searched`` of a configuration, to stand at its end."""
    lines = ["searched:"]
    for task in dict.fromkeys(outcome.task for outcome in outcomes):
        lines.append(f"  {task}:")
        for outcome in outcomes:
            if outcome.task == task:
                content = to_mapping(outcome.searched)
                text = yaml.safe_dump(content, sort_keys=False, default_flow_style=True, width=1000)
                lines.append(f"    {outcome.method}: {text.strip()}")
    return "\n".join(lines)


def combinations(grid: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Returns every combination of a grid's values.

    >>> combinations({"lr": [0.1, 0.2], "augment": [0.5]})
    [{'lr': 0.1, 'augment': 0.5}, {'lr': 0.2, 'augment': 0.5}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
