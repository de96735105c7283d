"""The search every method's settings come from: the same small grid, on tune data, on seeds no comparison uses.

All combinations of a method train as lanes of one fleet, so a search costs little more than its images. Every outcome
is kept in a file of its own the moment it is there: a search that was stopped goes on with the others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.config import SEARCH_SEEDS, Experiment, Searched
from mapopt.files import write_json
from mapopt.former_names import translate
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.fleet import Fleet
from mapopt.training.knobs import Knobs
from mapopt.training.loop import run_fleet


@dataclass(frozen=True)
class Tried:
    """One combination with what it reached."""

    knobs: dict[str, float]
    val_ap: tuple[float, ...]
    """At the selected round, per seed."""
    diverged: int

    @property
    def mean(self) -> float:
        """Mean tune AP over the seeds."""
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

    @property
    def best(self) -> Tried:
        """The combination with the highest mean tune AP; of equals the first."""
        return max(self.tried, key=lambda one: one.mean)

    @property
    def searched(self) -> Searched:
        """What the configuration keeps of it."""
        return Searched(knobs=self.best.knobs, runs=self.runs, images=self.images, seconds=round(self.seconds, 1))


def search(experiment: Experiment, folder: Path, *, workers: int, device: str) -> Iterator[SearchOutcome]:
    """Searches the settings of every method that has a grid, on every task.

    Args:
        experiment: what to search for; what it says of earlier searches has no influence.
        folder: where outcomes are kept, and found again.
        workers: processes.
        device: where to train.

    Yields:
        one outcome per task and method: those that were kept, then the others in the order they finish.

    Raises:
        ConfigError: no method has a grid.
        StoreError: a kept outcome cannot be read.
    """
    jobs = [
        (experiment, task, method, device, folder / f"{task}-{method}-{_key(experiment, task, method)}.json")
        for task in experiment.tasks
        for method, config in experiment.methods.items()
        if config.search.grid
    ]
    if not jobs:
        raise ConfigError(f"no method of experiment '{experiment.name}' has a search grid: give one at least a grid")
    missing = [job for job in jobs if not job[-1].exists()]
    yield from (_read(job[-1]) for job in jobs if job[-1].exists())
    if workers == 1 or len(missing) < 2:
        yield from map(_search_one, missing)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(missing)), initializer=_one_thread) as pool:
        yield from pool.imap_unordered(_search_one, missing)


def as_yaml(found: Sequence[SearchOutcome]) -> str:
    """Returns the section ``vald`` of a configuration, to stand at its end."""
    lines = ["searched:"]
    for task in dict.fromkeys(one.task for one in found):
        lines.append(f"  {task}:")
        for one in found:
            if one.task == task:
                text = yaml.safe_dump(to_mapping(one.searched), sort_keys=False, default_flow_style=True, width=1000)
                lines.append(f"    {one.method}: {text.strip()}")
    return "\n".join(lines)


def combinations(grid: dict[str, list[float]]) -> list[dict[str, float]]:
    """Returns every combination of a grid's values.

    >>> combinations({"lr": [0.1, 0.2], "augment": [0.5]})
    [{'lr': 0.1, 'augment': 0.5}, {'lr': 0.2, 'augment': 0.5}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _key(experiment: Experiment, task: str, method: str) -> str:
    """Returns a hash of everything that decides a search's outcome."""
    plain = replace(experiment, searched={})
    grid = to_mapping(experiment.methods[method].search)
    return hashlib.sha256(json.dumps([plain.key(task, method), grid], sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> SearchOutcome:
    try:
        content = translate(json.loads(path.read_text()), "search outcome")
        found: SearchOutcome = from_mapping(SearchOutcome, content, str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise StoreError(f"{path}: is no outcome of a search ({error}); remove it to search again") from error
    return found


def _search_one(job: tuple[Experiment, str, str, str, Path]) -> SearchOutcome:
    experiment, task_name, method, device, path = job
    config = experiment.methods[method]
    points = combinations(config.search.grid)
    seeds = [SEARCH_SEEDS + number for number in range(config.search.seeds)]
    lanes = [(point, seed) for point in points for seed in seeds]
    tasks = []
    for point, seed in lanes:
        task = experiment.task(task_name, method, seed)
        tasks.append(replace(task, knobs=Knobs.from_dict({**config.knobs, **point})))
    began = time.perf_counter()
    controllers = [config.controller.make() for _ in lanes]
    results = run_fleet(Fleet(tasks, [seed for _, seed in lanes], device=device), controllers, experiment.budget)
    seconds = time.perf_counter() - began
    tried = []
    for index, point in enumerate(points):
        mine = results[index * len(seeds) : (index + 1) * len(seeds)]
        tried.append(Tried(point, tuple(one.val.ap for one in mine), sum(one.status == "diverged" for one in mine)))
    images = sum(result.history[-1].images for result in results)
    found = SearchOutcome(task_name, method, tuple(tried), len(lanes), images, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(found))
    return found


def _one_thread() -> None:
    torch.set_num_threads(1)
