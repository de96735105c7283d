"""Every learner on one family at equal environment steps: several trainings of each, and how far they differ.

The family is `units` with SGD, where the scale of a step is unknown, so that there is something to be learned of what a
run reports. No hyperparameter was searched on it: they are those with which every learner passes its test on another
family. Beside the learners stand the baseline, random actions, and a schedule that is searched with as many steps.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mapopt.agents import Agent, AgentTraining, PolicyController
from mapopt.agents.learning.algorithms import ALGORITHMS
from mapopt.agents.learning.seeds import train_agents
from mapopt.agents.learning.settings import check_training
from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.families.scales import UnitsFamily
from mapopt.envs.numbering import InstanceSplit
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.expected import learners_seconds
from mapopt.experiments.bench.settings import BLIND, INSTANCES, LearnersSettings
from mapopt.metrics.statistics import Estimate, bootstrap_interval
from mapopt.passes import Parts
from mapopt.training import Budget, Controller, Decision, Fleet, Recipe, Round, Schedule, TaskInfo, run_fleet

_LESS: dict[str, Any] = {"gradient_steps": 4, "batch_size": 64}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "ppo": {"learning_rate": 0.01},
    "a2c": {"learning_rate": 0.03, "log_std": 0.0, "hyperparameters": {"n_steps": 1}},
    "recurrent_ppo": {"learning_rate": 0.01, "epochs": 4, "hyperparameters": {"lstm_hidden_size": 8}},
    "sac": {"learning_rate": 0.01, "hyperparameters": _LESS},
    "td3": {"learning_rate": 0.01, "hyperparameters": _LESS},
    "tqc": {"learning_rate": 0.01, "hyperparameters": _LESS},
    "dqn": {"learning_rate": 0.01, "step_size": 0.5, "hyperparameters": _LESS},
    "es": {"hyperparameters": {"sigma": 0.3, "learning_rate": 0.1}},
}
"""Learner -> settings of its training that differ from the defaults of `mapopt train-agent`."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a learner, or a rival without training, came to."""

    name: str
    aps: tuple[tuple[float, ...], ...]
    """Test AP of each training's agent on each instance: of the round with the best val AP."""
    mean: float
    """Over all of them."""
    interval: tuple[float, float] | None
    """95 % interval of the mean, over the trainings; None of a single one."""
    gain: Estimate
    """Mean difference to the baseline; the 95 % interval is over the instances."""
    spread: float | None
    """The standard deviation over the trainings of their means; None of a single one."""
    environment_steps: int
    """Of each training's iterations."""
    images: float
    """Mean over the trainings of all that was trained on, evaluations and reference runs included."""
    processor_seconds: float
    """Of a training, likewise."""


@dataclass(frozen=True)
class RandomActions:
    """Takes another random action in every round."""

    form: Action
    seed: int

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns what a random action decides; a function of the seed and the number of rounds."""
        draws = np.random.default_rng([self.seed, len(history)]).uniform(-1, 1, len(self.form.knobs))
        return self.form.decide(draws.astype(np.float32), history, task, budget)


def bench_learners(settings: LearnersSettings, *, seed: int, device: str, out: Path | None) -> list[Measured]:
    """Trains and evaluates learners, and prints a table.

    Args:
        settings: which, how often, and on what.
        seed: of the first training.
        device: where detectors train.
        out: folder that keeps the agents, in which an earlier run goes on; None keeps none.

    Returns:
        the baseline and random actions, then every learner.

    Raises:
        ConfigError: there is no such learner, or a round is no whole number of steps.
    """
    names = settings.learners or (*ALGORITHMS, BLIND)
    for name in names:
        check_training(training_of(name, settings, seed=seed, device=device))
    with tempfile.TemporaryDirectory() as scratch, Parts("bench learners", learners_seconds(settings, names)) as parts:
        form = training_of("ppo", settings, seed=seed, device=device).make_action()
        random = [RandomActions(form, number) for number in range(settings.instances)]
        baseline = evaluate([Schedule()] * settings.instances, settings, device)
        measured = [
            summarize("baseline", [baseline], baseline),
            summarize("random actions", [evaluate(random, settings, device)], baseline),
        ]
        parts.done("rivals")
        for name in names:
            folder = (out or Path(scratch)) / name
            training = training_of(name, settings, seed=seed, device=device)
            train_agents(training, folder, training_seeds=settings.trainings, resume=True)
            agents = [Agent.load(folder / f"seed-{seed + number}" / "agent") for number in range(settings.trainings)]
            aps = [evaluate([PolicyController(agent)] * settings.instances, settings, device) for agent in agents]
            steps = settings.iterations * settings.lanes * settings.rounds
            measured.append(summarize(name, aps, baseline, steps, [agent.training["cost"] for agent in agents]))
            parts.done(name)
    print_table(learners_table(measured), Console(file=sys.stdout))
    return measured


def family_of(split: InstanceSplit) -> UnitsFamily:
    """Returns the instances: small scenes with an object or two, of which something is learned in twenty steps."""
    return UnitsFamily(
        split=split,
        count=INSTANCES,
        scenes=ShapesConfig(size=32, classes=1, objects=(1, 2), object_size=(12.0, 24.0), color=1.0, clutter=0.0),
        images=(32, 32, 64),
        recipe=Recipe(optimizer="sgd", loss="focal", batch_size=4),
    )


def training_of(name: str, settings: LearnersSettings, *, seed: int, device: str) -> AgentTraining:
    """Returns how a learner is trained."""
    blind: dict[str, Any] = {"algo": "cma_es", "features": ("progress",)}
    return AgentTraining(
        family=family_of("train"),
        budget=Budget(images=settings.images, rounds=settings.rounds),
        knobs=("lr",),
        scale=30.0,
        num_seeds=1,
        evaluate_every=4,
        iterations=settings.iterations,
        lanes=settings.lanes,
        workers=1,
        seed=seed,
        device=device,
        **(blind if name == BLIND else {"algo": name, **HYPERPARAMETERS.get(name, {})}),
    )


def evaluate(controllers: Sequence[Controller], settings: LearnersSettings, device: str) -> list[float]:
    """Returns the test AP of controllers, one for each of the first instances for evaluating agents.

    The same instance always has the same training seed.
    """
    family = family_of("eval")
    tasks = [family.instance(number).task for number in range(len(controllers))]
    fleet = Fleet(tasks, list(range(len(tasks))), device=device)
    results = run_fleet(fleet, controllers, Budget(images=settings.images, rounds=settings.rounds))
    return [0.0 if result.test is None else max(float(result.test.ap), 0.0) for result in results]


def summarize(
    name: str,
    aps: Sequence[Sequence[float]],
    baseline: Sequence[float],
    environment_steps: int = 0,
    costs: Sequence[dict[str, Any]] = (),
) -> Measured:
    """Returns what a learner came to.

    Args:
        name: of it.
        aps: ``[trainings, instances]``.
        baseline: ``[instances]``.
        environment_steps: of a training.
        costs: of each training, as its agent's file has them.
    """
    values = np.array(aps, dtype=np.float64)
    gains, means = (values - np.array(baseline)).mean(axis=0), values.mean(axis=1)
    low, high = bootstrap_interval(gains, _mean, seed=0, bounds=(-1.0, 1.0))
    interval, spread = None, None
    if len(means) > 1:
        ends = bootstrap_interval(means, _mean, seed=0, bounds=(0.0, 1.0))
        interval, spread = (float(ends[0]), float(ends[1])), float(means.std(ddof=1))
    return Measured(
        name=name,
        aps=tuple(tuple(row) for row in values.tolist()),
        mean=float(means.mean()),
        interval=interval,
        gain=Estimate(float(gains.mean()), float(low), float(high)),
        spread=spread,
        environment_steps=environment_steps,
        images=float(np.mean([cost["images"] for cost in costs])) if costs else 0.0,
        processor_seconds=float(np.mean([cost["processor_seconds"] or 0.0 for cost in costs])) if costs else 0.0,
    )


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.mean(axis=-1))


def learners_table(measured: Sequence[Measured]) -> Table:
    """Lays out what learners came to, the best first."""
    table = new_table("test AP on instances that no agent was trained on")
    for heading in ("learner", "trainings", "test AP", "standard deviation", "minus baseline", "steps", "images", "s"):
        table.add_column(heading, justify="left" if heading == "learner" else "right")
    for each in sorted(measured, key=lambda each: -each.mean):
        trained = bool(each.environment_steps)
        interval = "" if each.interval is None else " [{:.3f}, {:.3f}]".format(*each.interval)
        table.add_row(
            each.name,
            str(len(each.aps)) if trained else "",
            f"{each.mean:.3f}{interval}",
            "" if each.spread is None else f"{each.spread:.3f}",
            "" if each.name == "baseline" else f"{each.gain.value:+.3f} [{each.gain.low:+.3f}, {each.gain.high:+.3f}]",
            f"{each.environment_steps:,}" if trained else "",
            f"{each.images:,.0f}" if trained else "",
            f"{each.processor_seconds:.0f}" if trained else "",
        )
    table.caption = (
        "test AP: mean over trainings and instances, with the 95 % interval over the trainings; minus baseline: with "
        "that over the instances; s: of a processor, for each training"
    )
    return table
