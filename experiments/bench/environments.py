"""Environment steps a second, where a step goes, and what environments of single lanes would give."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from mapopt.data import ShapesConfig
from mapopt.envs import DETECTOR_TRAINING
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.settings import LENGTH
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.cost import fastest_of
from mapopt.experiments.bench.expected import environments_seconds
from mapopt.experiments.bench.fleet import device_name
from mapopt.experiments.bench.round import STEPS, VAL_IMAGES, RoundCost, cost_of, round_table
from mapopt.experiments.bench.settings import EnvironmentSettings
from mapopt.passes import Parts
from mapopt.training import Budget

BUDGET = Budget(images=STEPS * 16 * 100, rounds=100)
"""Rounds of the default length, and more of them than are played: no episode ends in the middle of a measurement."""

INSTANCES = 4
"""Different data sets among the lanes."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a step of a fleet of environments costs."""

    lanes: int
    size: int
    cost: RoundCost

    @property
    def steps_per_second(self) -> float:
        """Environment steps, of all lanes together."""
        return self.lanes / self.cost.total


@dataclass(frozen=True, kw_only=True)
class InterfaceCost:
    """What a step of environments costs in several processes on some cores."""

    name: str
    lanes: int
    """Of every process."""
    processes: int
    seconds: float
    """Of a step of all of them, by the clock."""

    @property
    def per_core(self) -> float:
        """Environment steps a second and core."""
        return self.lanes / self.seconds


@dataclass(frozen=True, kw_only=True)
class EnvironmentCosts:
    """Everything that a run has measured."""

    fleets: tuple[StepCost, ...]
    interfaces: tuple[InterfaceCost, ...]
    post_processing_steps_per_second: dict[str, float]
    """By reward."""


def bench_environments(settings: EnvironmentSettings, *, seed: int, device: torch.device) -> EnvironmentCosts:
    """Measures environments, and prints what they cost.

    Args:
        settings: which environments.
        seed: of the instances.
        device: where their detectors train.
    """
    console = Console(width=None if sys.stdout.isatty() else 170)
    name = device_name(device, settings.threads)
    steps: list[StepCost] = []
    interfaces: list[InterfaceCost] = []
    rates: dict[str, float] = {}
    with Parts("bench env", environments_seconds(settings)) as parts:
        for size in dict.fromkeys(settings.sizes):
            for lanes in settings.lanes:
                steps.append(measure_step(lanes, size, repeats=settings.repeats, seed=seed, device=device))
            parts.done(f"{size} px")
        print_table(rate_table(steps, title=f"DetectorTraining-v0 ({name})"), console)
        names, costs = [f"{step.lanes} of {step.size} px" for step in steps], [step.cost for step in steps]
        print_table(round_table(names, costs, title=f"a step of DetectorTraining-v0 ({name})"), console)
        if settings.workers:
            interfaces = measure_interfaces(
                max(settings.lanes), workers=settings.workers, repeats=settings.repeats, seed=seed, device=device
            )
            title = f"{settings.workers} processes of one thread, 48 px ({device.type})"
            print_table(interface_table(interfaces, title=title), console)
            parts.done("processes")
        if settings.steps:
            rates = measure_post_processing(settings.steps, settings.repeats, seed)
            print_table(_rewards_table(rates), console)
            parts.done("post-processing")
    return EnvironmentCosts(fleets=tuple(steps), interfaces=tuple(interfaces), post_processing_steps_per_second=rates)


def measure_step(lanes: int, size: int, *, repeats: int, seed: int, device: torch.device) -> StepCost:
    """Plays some rounds with the zero action."""
    env = make_vector(lanes, size=size, device=str(device))
    env.reset(seed=seed)
    actions = np.zeros(env.action_space.shape or ())
    env.step(actions)
    cost = cost_of(lambda: env.step(actions), repeats, device)
    env.close()
    return StepCost(lanes=lanes, size=size, cost=cost)


def make_vector(lanes: int, *, size: int = 48, device: str = "cpu") -> DetectorTrainingVectorEnv:
    """Makes a fleet of default environments."""
    return DetectorTrainingVectorEnv(lanes, _family(size), budget=BUDGET, device=device, autoreset_mode="SameStep")


def make_single(*, device: str = "cpu") -> gymnasium.Env[np.ndarray, np.ndarray]:
    """Makes a default environment of one lane, as a user would."""
    torch.set_num_threads(1)
    return gymnasium.make(DETECTOR_TRAINING, family=_family(48), budget=BUDGET, device=device)


def measure_interfaces(
    lanes: int, *, workers: int, repeats: int, seed: int, device: torch.device
) -> list[InterfaceCost]:
    """Lets fleets and environments of single lanes take turns on the same cores; the fastest turn of each counts."""
    torch.set_num_threads(1)  # as in the processes that have one each
    fleets = FleetVecEnv(partial(make_vector, lanes, device=str(device)), workers=workers)
    singles = SubprocVecEnv([partial(make_single, device=str(device))] * workers, start_method="spawn")
    both: list[tuple[str, int, VecEnv]] = [
        ("fleets (FleetVecEnv)", lanes, fleets),
        ("single lanes (SubprocVecEnv)", 1, singles),
    ]
    best = [float("inf")] * len(both)
    try:
        for _, _, env in both:
            env.seed(seed)
            env.reset()
            env.step(_still(env))
        for _ in range(repeats):
            for place, (_, _, env) in enumerate(both):
                began = time.perf_counter()  # the work is in other processes
                env.step(_still(env))
                best[place] = min(best[place], time.perf_counter() - began)
    finally:
        for _, _, env in both:
            env.close()
    return [
        InterfaceCost(name=name, lanes=each, processes=workers, seconds=seconds)
        for (name, each, _), seconds in zip(both, best, strict=True)
    ]


def measure_post_processing(steps: int, repeats: int, seed: int) -> dict[str, float]:
    """Returns steps a second of PostProcessing-v0 with random actions, episodes' beginnings included, by reward."""
    rates = {}
    for reward in ("ap", "f1", "lrp"):
        env = PostProcessingEnv(SyntheticCandidates(count=INSTANCES, images=(64, 64)), reward=reward)
        env.action_space.seed(seed)
        actions = [env.action_space.sample() for _ in range(256)]
        env.reset(seed=seed)
        _play(env, actions, 64)
        rates[reward] = steps / fastest_of(partial(_play, env, actions, steps), repeats=repeats)
    return rates


def _play(env: PostProcessingEnv, actions: list[np.ndarray], steps: int) -> None:
    for step in range(steps):
        if step % LENGTH == 0:
            env.reset()
        env.step(actions[step % len(actions)])


def _family(size: int) -> ShapesFamily:
    smallest, largest = ShapesConfig.object_size
    scenes = ShapesConfig(size=size, object_size=(max(4, smallest * size / 48), largest * size / 48))
    return ShapesFamily(scenes=scenes, count=INSTANCES, images=(256, VAL_IMAGES, 8))


def _still(env: VecEnv) -> np.ndarray:
    return np.zeros((env.num_envs, *(env.action_space.shape or ())))


def rate_table(steps: list[StepCost], *, title: str) -> Table:
    """Lays out steps a second by lanes and image size."""
    table = new_table(title)
    for heading in ("image size", "lanes", "s a step", "environment steps a second", "times the first of its size"):
        table.add_column(heading, justify="right")
    first: dict[int, float] = {}
    for step in steps:
        rate = first.setdefault(step.size, step.steps_per_second)
        table.add_row(
            f"{step.size} px",
            str(step.lanes),
            f"{step.cost.total:.2f}",
            f"{step.steps_per_second:.2f}",
            f"{step.steps_per_second / rate:.2f}",
        )
    return table


def interface_table(interfaces: list[InterfaceCost], *, title: str) -> Table:
    """Lays out steps a second and core, and their ratio to the last row's."""
    table = new_table(title)
    table.add_column("environments")
    for heading in ("lanes each", "s a step", "environment steps a second and core", "times the last"):
        table.add_column(heading, justify="right")
    for interface in interfaces:
        table.add_row(
            interface.name,
            str(interface.lanes),
            f"{interface.seconds:.2f}",
            f"{interface.per_core:.2f}",
            f"{interface.per_core / interfaces[-1].per_core:.2f}",
        )
    return table


def _rewards_table(rates: dict[str, float]) -> Table:
    table = new_table("PostProcessing-v0, 64 val images, one core: steps a second")
    for reward in rates:
        table.add_column(reward, justify="right")
    table.add_row(*(f"{rate:.0f}" for rate in rates.values()))
    return table
