"""How much deciding per instance can gain: the best setting of each instance against the best one for all.

An agent, a search or a rule that looks at an instance can at best have what is best there; one that does not can at
best have what is best on average. Where the two are close, nothing is to be gained by looking.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mapopt.data import ShapesConfig
from mapopt.envs.families.base import ranges_of
from mapopt.envs.families.registry import FAMILIES, make_family
from mapopt.envs.families.shapes import resized
from mapopt.envs.numbering import check_number
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.expected import headroom_seconds
from mapopt.experiments.bench.settings import HeadroomSettings
from mapopt.experiments.comparison.config import Experiment, config_path, load_experiment, shipped
from mapopt.experiments.comparison.jobs import make_job
from mapopt.metrics.statistics import Estimate, bootstrap_interval
from mapopt.passes import Parts
from mapopt.training import Budget, Controller, Decision, Fleet, KnobSpace, Range, Schedule, Task, run_fleet
from mapopt.training.budget import TaskInfo
from mapopt.training.history import Round
from mapopt.training.task import shared_recipe

ADMITTED_AP, ADMITTED_FRACTION = 0.02, 0.15
"""From either on, deciding per instance is worth something: in AP, and relative to the best setting for all."""

LANES = 32
"""Lanes of a fleet at the most."""


@dataclass(frozen=True)
class Offset:
    """A schedule whose knobs are moved by an offset, the same for every instance."""

    schedule: Controller
    knobs: tuple[str, ...]
    offsets: tuple[float, ...]
    scale: float

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the schedule's decision, moved."""
        move = partial(KnobSpace(self.knobs, task.ranges).shift, np.array(self.offsets), scale=self.scale)
        return self.schedule.decide(history, task, budget).turned(move)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One instance to be trained."""

    task: Task
    budget: Budget
    schedule: Controller


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """What one family came to."""

    family: str
    instances: int
    settings: int
    best_single: float
    """Mean test AP of the setting with the best mean val AP, each relative to its instance's best."""
    best_each: float
    """Mean test AP if every instance has the setting with its best val AP."""
    gain: Estimate
    """Difference of the two over the instances, with its 95 % interval."""
    images: int
    """Trained on."""

    @property
    def admitted(self) -> bool:
        """Whether deciding per instance is worth something here."""
        return self.gain.value >= min(ADMITTED_AP, ADMITTED_FRACTION * self.best_single) and self.gain.low > 0


def bench_headroom(settings: HeadroomSettings, *, seed: int, device: torch.device) -> list[Headroom]:
    """Measures the headroom of families, and prints it.

    Args:
        settings: which families, and how.
        seed: of the settings' offsets, and the first of the training seeds.
        device: where detectors train.

    Raises:
        ConfigError: there is no such family or experiment, or it has fewer instances.
    """
    for name in settings.families:
        _check(name, settings)
    listed: list[Headroom] = []
    try:
        with Parts("bench headroom", headroom_seconds(settings)) as parts:
            for name in settings.families:
                listed.append(measure_headroom(name, settings, seed=seed, device=device))
                parts.done(name)
    finally:
        # A run that is interrupted has not worked for nothing.
        if listed:
            print_table(headroom_table(listed), Console(file=sys.stdout))
    return listed


def measure_headroom(name: str, settings: HeadroomSettings, *, seed: int, device: torch.device) -> Headroom:
    """Trains every instance of a family with every setting.

    Args:
        name: of a family, or of an experiment, whose tasks with their seeds are the instances.
        settings: how many instances and settings, what they differ in, and the budget.
        seed: of the offsets, and the first of the training seeds.
        device: where detectors train.
    """
    cases = cases_of(name, settings)
    offsets = np.random.default_rng(seed).uniform(-1, 1, (settings.candidates, len(settings.knobs)))
    offsets[0] = 0
    shape = (settings.candidates, len(cases))
    val, test = np.zeros(shape), np.zeros(shape)
    groups: dict[Any, list[tuple[int, int]]] = {}
    for place, case in enumerate(cases):
        groups.setdefault(_kind(case), []).extend((row, place) for row in range(settings.candidates))
    for members in groups.values():
        for start in range(0, len(members), LANES):
            _train(members[start : start + LANES], cases, offsets, settings, seed, device, val, test)
    best = val.max(axis=0)
    relative = np.divide(val, best, out=np.ones_like(val), where=best > 0)
    single = int(relative.mean(axis=1).argmax())
    each = test[val.argmax(axis=0), np.arange(len(cases))]
    gains = each - test[single]
    low, high = bootstrap_interval(gains, _mean, seed=0, bounds=(-1.0, 1.0))
    return Headroom(
        family=name,
        instances=len(cases),
        settings=settings.candidates,
        best_single=float(test[single].mean()),
        best_each=float(each.mean()),
        gain=Estimate(float(gains.mean()), float(low), float(high)),
        images=sum(case.budget.images for case in cases) * settings.candidates,
    )


def cases_of(name: str, settings: HeadroomSettings) -> list[Case]:
    """Returns the instances of a family for evaluating agents, or the tasks of an experiment with seeds in turn.

    Raises:
        ConfigError: there are fewer, or neither a family nor an experiment has the name.
    """
    if _is_experiment(name):
        experiment = _experiment(name)
        cases = []
        for number in range(settings.instances):
            turn, place = divmod(number, len(experiment.tasks))
            job = make_job(experiment, list(experiment.tasks)[place], experiment.reference)
            cases.append(Case(task=job.make_task(turn), budget=job.budget, schedule=job.make_controllers(1)[0]))
        return cases
    family = make_family(name, split="eval", **_made_with(name, settings.size))
    budget = Budget(images=settings.images, rounds=settings.rounds)
    cases = []
    for each in map(family.instance, range(settings.instances)):
        own = each.budget or budget
        cases.append(Case(task=each.task_for(own), budget=own, schedule=each.baseline or Schedule()))
    return cases


def _is_experiment(name: str) -> bool:
    """Returns whether a name is that of an experiment, shipped or in a file, rather than of a family.

    A shipped one that has a family's name is meant by its file's name.
    """
    return Path(name).suffix in (".yaml", ".yml") or (name in shipped() and name not in FAMILIES)


def _experiment(name: str) -> Experiment:
    stem = Path(name).stem
    return load_experiment(config_path(stem if stem in shipped() and not Path(name).is_file() else name))


def _check(name: str, settings: HeadroomSettings) -> None:
    """Finds what is wrong with a family, an experiment or the knobs before anything trains."""
    if _is_experiment(name):
        experiment = _experiment(name)
        known: Mapping[str, Range] = experiment.methods[experiment.reference].recipe.ranges()
    else:
        family = make_family(name, split="eval", **_made_with(name, settings.size))
        check_number(settings.instances - 1, family.count)
        known = ranges_of(family, settings.knobs)
    KnobSpace(settings.knobs, known)


def _made_with(name: str, size: int) -> dict[str, Any]:
    """Returns what a family is made with: scenes of a size, if it has any."""
    family = FAMILIES.find(name)
    if not (isinstance(family, type) and is_dataclass(family)) or "scenes" not in {
        each.name for each in fields(family)
    }:
        return {}
    default = ShapesConfig()
    # As large a fraction of the image as by default, but where the family draws it.
    return {"scenes": replace(default, size=size) if name == "small-objects" else resized(default, size)}


def _train(
    members: Sequence[tuple[int, int]],
    cases: Sequence[Case],
    offsets: np.ndarray,
    settings: HeadroomSettings,
    seed: int,
    device: torch.device,
    val: np.ndarray,
    test: np.ndarray,
) -> None:
    """Trains (setting, instance) pairs as lanes of a fleet, and notes their APs."""
    chosen = [cases[place] for _, place in members]
    fleet = Fleet([case.task for case in chosen], [seed + place for _, place in members], device=device)
    controllers = [
        Offset(case.schedule, tuple(settings.knobs), tuple(offsets[row].tolist()), settings.scale)
        for (row, _), case in zip(members, chosen, strict=True)
    ]
    for (row, place), result in zip(members, run_fleet(fleet, controllers, chosen[0].budget), strict=True):
        val[row, place] = max(result.val.ap, 0.0)
        test[row, place] = 0.0 if result.test is None else max(float(result.test.ap), 0.0)


def _kind(case: Case) -> Any:
    """Returns what the lanes of one fleet have in common, as a key; see `mapopt.training.task.check_alike`."""
    splits = case.task.splits
    lengths = (len(splits.val), len(splits.test))
    return (repr(shared_recipe(case.task.recipe)), case.task.classes, splits.train.size, lengths, case.budget)


def _mean(gains: np.ndarray) -> np.ndarray:
    return np.asarray(gains.mean(axis=-1))


def headroom_table(measured: Sequence[Headroom]) -> Table:
    """Lays out what families came to."""
    table = new_table("test AP: the best setting for all, and the best of each instance")
    for heading in ("family", "instances", "settings", "for all", "of each", "gain", "relative", "worth an agent"):
        table.add_column(heading, justify="left" if heading == "family" else "right")
    for each in measured:
        table.add_row(
            each.family,
            str(each.instances),
            str(each.settings),
            f"{each.best_single:.3f}",
            f"{each.best_each:.3f}",
            f"{each.gain.value:+.3f} [{each.gain.low:+.3f}, {each.gain.high:+.3f}]",
            f"{each.gain.value / max(each.best_single, 1e-9):+.0%}",
            "yes" if each.admitted else "no",
        )
    table.caption = (
        f"worth an agent from +{ADMITTED_AP:.2f} AP or +{ADMITTED_FRACTION:.0%} on, with an interval above 0; settings "
        "are chosen by val AP, which favors the best of each a little"
    )
    return table
