"""What feedback on the length of the steps gains over the learning rates that it came to in other runs.

A controller that sets `step_ratio` reads, at every step, how long the optimizer's own step would have been. What it
does with that can be written down as learning rates: those that take the same steps. Played again in a run that they
are not of, they are the controller without its feedback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.settings import ReplaySettings
from mapopt.experiments.comparison.config import config_path, load_experiment
from mapopt.experiments.comparison.jobs import Job, make_job
from mapopt.metrics.statistics import Estimate, bootstrap_interval
from mapopt.passes import steps
from mapopt.training import Budget, Controller, Decision, Fleet, Knobs, ranges, run_fleet
from mapopt.training.budget import TaskInfo
from mapopt.training.history import Round
from mapopt.training.optimizers.step_ratio import RatioSteps


@dataclass(frozen=True)
class Replayed:
    """A controller whose steps have learning rates in place of lengths."""

    controller: Controller
    factors: tuple[float, ...]
    """Of every round: what the controller's learning rate is multiplied with."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the controller's decision with a learning rate, inside its range, in place of a length."""
        bounds, factor = ranges()["lr"], self.factors[len(history)]

        def change(knobs: Knobs) -> Knobs:
            return knobs.replace(lr=bounds.clip(knobs.get("lr") * factor), step_ratio=0.0)

        return self.controller.decide(history, task, budget).turned(change)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What one task came to."""

    task: str
    seeds: int
    closed: float
    """Mean test AP of the controller."""
    own: Estimate
    """Controller less its replay on the same seeds, whose rates are the geometric mean of the task's other seeds."""
    others: Estimate
    """The same with the rates of the other tasks that have its optimizer."""
    images: int
    """Trained on, by all three."""


def bench_replay(settings: ReplaySettings, *, seed: int, device: torch.device) -> list[Replay]:
    """Measures what feedback gains on the tasks of an experiment, and prints it.

    Args:
        settings: which experiment, method and tasks.
        seed: the first of the training seeds.
        device: where detectors train.

    Raises:
        ConfigError: there is no such experiment, method or task, or the method sets no `step_ratio`.
    """
    experiment = load_experiment(config_path(settings.experiment))
    methods, tasks = list(experiment.methods), list(experiment.tasks)
    for name, known in ((settings.method, methods), *((task, tasks) for task in settings.tasks)):
        if name not in known:
            raise ConfigError(f"{settings.experiment} has no '{name}': expected one of {', '.join(known)}")
    chosen = settings.tasks or tasks
    jobs = {task: make_job(experiment, task, settings.method, device=str(device)) for task in chosen}
    seeds = range(seed, seed + settings.seeds)
    measured: list[Replay] = []
    closed, factors = {}, {}
    with steps("bench replay: training", total=2 * len(jobs), unit="groups of runs") as work:
        for place, (task, job) in enumerate(jobs.items(), 1):
            closed[task], factors[task] = _closed_runs(job, seeds, device)
            work.advance(place)
        for place, (task, job) in enumerate(jobs.items(), 1):
            alike = [name for name, other in jobs.items() if other.recipe.optimizer == job.recipe.optimizer]
            elsewhere = [factors[name] for name in alike if name != task] or [factors[task]]
            rates = [np.delete(factors[task], left, axis=0).mean(axis=0) for left in range(len(seeds))]
            own = _runs(job, seeds, device, rates)
            others = _runs(job, seeds, device, [np.concatenate(elsewhere).mean(axis=0)] * len(seeds))
            measured.append(
                Replay(
                    task=task,
                    seeds=len(seeds),
                    closed=float(closed[task].mean()),
                    own=_paired(closed[task] - own),
                    others=_paired(closed[task] - others),
                    images=3 * len(seeds) * job.budget.images,
                )
            )
            work.advance(len(jobs) + place)
    print_table(replay_table(measured), Console(file=sys.stdout))
    return measured


def _closed_runs(job: Job, seeds: Sequence[int], device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Returns the test AP of the controller's runs, and the logarithm of every round's factor ``[seeds, rounds]``."""
    fleet = Fleet([job.make_task(seed) for seed in seeds], list(seeds), device=device)
    with _watched() as factors:
        results = run_fleet(fleet, job.make_controllers(len(seeds)), job.budget)
    if not factors or any(len(each) != len(seeds) for each in factors):
        raise ConfigError(
            f"method '{job.method}' of task '{job.task}' leaves step_ratio at 0, or a run diverged: give one that sets "
            "the length of its steps, such as --method autopilot"
        )
    rounds = np.stack(factors, axis=1).reshape(len(seeds), job.budget.rounds, -1).mean(axis=2)
    return np.array([max(float(result.test.ap), 0.0) if result.test else 0.0 for result in results]), rounds


def _runs(job: Job, seeds: Sequence[int], device: torch.device, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the test AP of replays, one for every seed."""
    fleet = Fleet([job.make_task(seed) for seed in seeds], list(seeds), device=device)
    controllers = [
        Replayed(controller, tuple(np.exp(own).tolist()))
        for controller, own in zip(job.make_controllers(len(seeds)), factors, strict=True)
    ]
    results = run_fleet(fleet, controllers, job.budget)
    return np.array([max(float(result.test.ap), 0.0) if result.test else 0.0 for result in results])


@contextmanager
def _watched() -> Iterator[list[np.ndarray]]:
    """Yields a list to which every step adds the logarithm of what its lanes' steps were multiplied with."""
    noted: list[np.ndarray] = []
    inner = RatioSteps._factors

    def noting(self: RatioSteps, before: Tensor, step: Tensor, ratio: Tensor) -> Tensor:
        factors = inner(self, before, step, ratio)
        noted.append(factors.double().log().mean(dim=1).cpu().numpy())
        return factors

    with patch.object(RatioSteps, "_factors", noting):
        yield noted


def _paired(differences: np.ndarray) -> Estimate:
    low, high = bootstrap_interval(differences, lambda drawn: drawn.mean(axis=-1), seed=0, bounds=(-1.0, 1.0))
    return Estimate(float(differences.mean()), float(low), float(high))


def replay_table(measured: Sequence[Replay]) -> Table:
    """Lays out what tasks came to."""
    table = new_table("test AP: a controller of the steps' length, less the learning rates that it came to elsewhere")
    for heading in ("task", "seeds", "controller", "less own replay", "less that of other tasks"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for each in measured:
        own, others = (f"{part.value:+.3f} [{part.low:+.3f}, {part.high:+.3f}]" for part in (each.own, each.others))
        table.add_row(each.task, str(each.seeds), f"{each.closed:.3f}", own, others)
    table.caption = (
        "own replay has the rates of the task's other seeds, so it knows the recipe; the other one those of the tasks "
        "with the same optimizer, as an agent would that has not seen the recipe"
    )
    return table
