"""The command `mapopt bench env`: environment steps a second, where a step goes, and what single lanes would give."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from mapopt.commands.command import Command
from mapopt.data import ShapesConfig
from mapopt.devices import choose_device
from mapopt.envs import DETECTOR_TRAINING
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.settings import LENGTH
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import ConfigError
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.fleet import device_name
from mapopt.experiments.bench.round import STEPS, VAL_IMAGES, RoundCost, cost_of, round_table
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.training.budget import Budget

BUDGET = Budget(images=STEPS * 16 * 100, rounds=100)
"""Rounds of the default length, and more of them than are played: no episode ends in the middle of a measurement."""

INSTANCES = 4
"""Different data sets among the lanes."""


@dataclass(frozen=True, kw_only=True)
class BenchEnv(Command):
    """Measure environment steps a second by lanes and image size, and where the time of a step goes.

    A step of DetectorTraining-v0 is a default round: 40 training steps of 16 images and an evaluation on 128. Its lanes
    stand beside stable-baselines3's SubprocVecEnv with an environment of a single lane in every process, on the same
    cores in the same run. PostProcessing-v0 judges 64 images a step.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench env --lanes 1 16 --sizes 48",
        "mapopt bench env --workers 0 --out benchmark",
    )

    lanes: tuple[int, ...] = (1, 4, 16)
    """Lanes of one fleet."""
    sizes: tuple[int, ...] = (32, 48, 64)
    """Sides of the images, in pixels."""
    workers: int = 2
    """Processes of the comparison with SubprocVecEnv, one thread each; 0 leaves it out."""
    steps: int = 3000
    """Steps of PostProcessing-v0; 0 leaves it out."""
    repeats: int = 3
    """The fastest of so many counts."""
    threads: int = 1
    """Threads of the CPU, of the fleets by lanes and size."""
    out: Path | None = None
    """Folder for env.json; without it nothing is written."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        for flag, least, lowest in (
            ("lanes", min(self.lanes, default=0), 1),
            ("sizes", min(self.sizes, default=0), 16),
            ("workers", self.workers, 0),
            ("steps", self.steps, 0),
            ("repeats", self.repeats, 1),
        ):
            if least < lowest:
                raise ConfigError(f"--{flag} is {getattr(self, flag)}: expected {lowest} or more")
        device = choose_device(self.device, threads=self.threads)
        output = Output(self.out, ("env.json",)) if self.out is not None else None
        if output is not None:
            output.check()
        console = Console(width=None if sys.stdout.isatty() else 170)
        rows = [Row.measure(lanes, size, self, device) for size in self.sizes for lanes in self.lanes]
        name = device_name(device, self.threads)
        print_table(rate_table(rows, title=f"DetectorTraining-v0 ({name})"), console)
        names, costs = [f"{row.lanes} of {row.size} px" for row in rows], [row.cost for row in rows]
        print_table(round_table(names, costs, title=f"a step of DetectorTraining-v0 ({name})"), console)
        interfaces = measure_interfaces(max(self.lanes), self, device) if self.workers else []
        if interfaces:
            console.print(
                interface_table(interfaces, title=f"{self.workers} processes of one thread, 48 px ({device.type})")
            )
        settings = measure_post_processing(self.steps, self.repeats, self.seed) if self.steps else {}
        if settings:
            print_table(_rewards_table(settings), console)
        if output is not None:
            record = {
                "fleets": [asdict(row) for row in rows],
                "interfaces": [asdict(interface) for interface in interfaces],
                "post_processing_steps_per_second": settings,
            }
            write_json(output.folder / "env.json", record)
            console.print(f"wrote {output.folder / 'env.json'}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a step of a fleet of environments costs."""

    lanes: int
    size: int
    cost: RoundCost

    @property
    def steps_per_second(self) -> float:
        """Environment steps, of all lanes together."""
        return self.lanes / self.cost.total

    @classmethod
    def measure(cls, lanes: int, size: int, command: BenchEnv, device: torch.device) -> Row:
        """Plays some rounds with the zero action."""
        env = make_vector(lanes, size=size, device=str(device))
        env.reset(seed=command.seed)
        actions = np.zeros(env.action_space.shape or ())
        env.step(actions)
        row = cls(lanes=lanes, size=size, cost=cost_of(lambda: env.step(actions), command.repeats, device))
        env.close()
        return row


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What environments give on some cores."""

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


def make_vector(lanes: int, *, size: int = 48, device: str = "cpu") -> DetectorTrainingVectorEnv:
    """Makes a fleet of default environments."""
    return DetectorTrainingVectorEnv(lanes, _family(size), budget=BUDGET, device=device, autoreset_mode="SameStep")


def make_single(*, device: str = "cpu") -> gymnasium.Env[np.ndarray, np.ndarray]:
    """Makes a default environment of one lane, as a user would."""
    torch.set_num_threads(1)
    return gymnasium.make(DETECTOR_TRAINING, family=_family(48), budget=BUDGET, device=device)


def measure_interfaces(lanes: int, command: BenchEnv, device: torch.device) -> list[Interface]:
    """Lets fleets and environments of single lanes take turns on the same cores; the fastest turn of each counts."""
    torch.set_num_threads(1)  # as in the processes that have one each
    fleets = FleetVecEnv(partial(make_vector, lanes, device=str(device)), workers=command.workers)
    singles = SubprocVecEnv([partial(make_single, device=str(device))] * command.workers, start_method="spawn")
    both: list[tuple[str, int, VecEnv]] = [
        ("fleets (FleetVecEnv)", lanes, fleets),
        ("single lanes (SubprocVecEnv)", 1, singles),
    ]
    best = [float("inf")] * len(both)
    try:
        for _, _, env in both:
            env.seed(command.seed)
            env.reset()
            env.step(_still(env))
        for _ in range(command.repeats):
            for place, (_, _, env) in enumerate(both):
                began = time.perf_counter()
                env.step(_still(env))
                best[place] = min(best[place], time.perf_counter() - began)
    finally:
        for _, _, env in both:
            env.close()
    return [
        Interface(name=name, lanes=each, processes=command.workers, seconds=seconds)
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
        rates[reward] = steps / _fastest(partial(_play, env, actions, steps), repeats)
    return rates


def _play(env: PostProcessingEnv, actions: list[np.ndarray], steps: int) -> None:
    for step in range(steps):
        if step % LENGTH == 0:
            env.reset()
        env.step(actions[step % len(actions)])


def _fastest(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def _family(size: int) -> ShapesFamily:
    smallest, largest = ShapesConfig.object_size
    scenes = ShapesConfig(size=size, object_size=(max(4, smallest * size / 48), largest * size / 48))
    return ShapesFamily(scenes=scenes, count=INSTANCES, images=(256, VAL_IMAGES, 8))


def _still(env: VecEnv) -> np.ndarray:
    return np.zeros((env.num_envs, *(env.action_space.shape or ())))


def rate_table(rows: list[Row], *, title: str) -> Table:
    """Lays out steps a second by lanes and image size."""
    table = new_table(title)
    for heading in ("image size", "lanes", "s a step", "environment steps a second", "times the first of its size"):
        table.add_column(heading, justify="right")
    first: dict[int, float] = {}
    for row in rows:
        rate = first.setdefault(row.size, row.steps_per_second)
        table.add_row(
            f"{row.size} px",
            str(row.lanes),
            f"{row.cost.total:.2f}",
            f"{row.steps_per_second:.2f}",
            f"{row.steps_per_second / rate:.2f}",
        )
    return table


def interface_table(interfaces: list[Interface], *, title: str) -> Table:
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
