"""The command `mapopt bench fleet`: many lanes as one network beside one after the other, and a round in pieces."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from rich.console import Console
from rich.table import Table

from mapopt.commands.command import Command
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.devices import choose_device
from mapopt.errors import ConfigError
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.round import measure_round, round_table
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.training.fleet import Fleet
from mapopt.training.task import Task


@dataclass(frozen=True, kw_only=True)
class BenchFleet(Command):
    """Measure training many lanes as one network, and where the time of a round goes.

    A round is 40 steps of 16 images and an evaluation on 128: the network, non-maximum suppression on the device, one
    transfer of the boxes that are left, and AP. Figures are minima of several repeats in one run.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench fleet --lanes 1 16",
        "mapopt bench fleet --threads 2 --out benchmark",
    )

    lanes: tuple[int, ...] = (1, 4, 16)
    """Lanes trained at once."""
    steps: int = 10
    """Steps of 16 images per measurement."""
    repeats: int = 3
    """The fastest of so many counts."""
    threads: int = 1
    """Threads of the CPU."""
    out: Path | None = None
    """Folder for fleet.json; without it nothing is written."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        for flag, least in (("lanes", min(self.lanes, default=0)), ("steps", self.steps), ("repeats", self.repeats)):
            if least < 1:
                raise ConfigError(f"--{flag} is {getattr(self, flag)}: expected 1 or more")
        device = choose_device(self.device, threads=self.threads)
        output = Output(self.out, ("fleet.json",)) if self.out is not None else None
        if output is not None:
            output.check()
        rows = [measure_fleet(lanes, self.steps, self.repeats, device, self.seed) for lanes in self.lanes]
        console = Console(width=None if sys.stdout.isatty() else 150)
        print_table(_table(rows, device, self.threads), console)
        many = sorted({*self.lanes, 2} - {1})
        rounds = [measure_round(lanes, self.repeats, device, self.seed) for lanes in many]
        title = f"a round of the fleet ({device_name(device, self.threads)})"
        print_table(round_table([str(lanes) for lanes in many], rounds, title=title), console)
        if output is not None:
            costs = {
                "fleets": [asdict(row) for row in rows],
                "rounds": [{"lanes": lanes, **asdict(one)} for lanes, one in zip(many, rounds, strict=True)],
            }
            write_json(output.folder / "fleet.json", costs)
            console.print(f"wrote {output.folder / 'fleet.json'}")


@dataclass(frozen=True)
class FleetCost:
    """What a fleet of some lanes costs."""

    lanes: int
    seconds_per_step: float
    """Of all lanes."""
    lane_steps_per_second: float


def measure_fleet(lanes: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> FleetCost:
    """Times training steps of the default detector at 48 pixels."""
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, val=1, test=1)
    fleet = Fleet(Task(name="bench", splits=splits), list(range(lanes)), device=device)
    batch = fleet.tasks[0].recipe.batch_size
    fleet.train(2 * batch)
    step = _fastest(lambda: fleet.train(steps * batch), repeats, device) / steps
    return FleetCost(lanes, step, lanes / step)


def _fastest(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def _table(rows: list[FleetCost], device: torch.device, threads: int) -> Table:
    table = new_table(f"the tiny detector's fleet, 48 pixels, batch 16 ({device_name(device, threads)})")
    for heading in ("lanes", "ms a step", "lane-steps a second", "times the first row"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.lanes),
            f"{1e3 * row.seconds_per_step:.1f}",
            f"{row.lane_steps_per_second:.0f}",
            f"{row.lane_steps_per_second / rows[0].lane_steps_per_second:.2f}",
        )
    return table


def device_name(device: torch.device, threads: int) -> str:
    """Returns what a table calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {threads} thread{'s'[: threads > 1]}"
