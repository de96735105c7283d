"""The command `mapopt bench fleet`: many lanes as one network beside one after the other, and evaluation's share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mapopt.commands.command import Command, choose_device
from mapopt.commands.output import Output
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.errors import ConfigError
from mapopt.files import write_json
from mapopt.training.fleet import Fleet
from mapopt.training.task import Task


@dataclass(frozen=True, kw_only=True)
class BenchFleet(Command):
    """Measure training many lanes as one network beside one after the other.

    Beside it evaluation's share of a default round. Figures are minima of several repeats in one run.
    """

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
        console.print(_table(rows, device, self.threads))
        if output is not None:
            write_json(output.folder / "fleet.json", [asdict(row) for row in rows])
            console.print(f"wrote {output.folder / 'fleet.json'}")


@dataclass(frozen=True)
class FleetCost:
    """What a fleet of some lanes costs."""

    lanes: int
    seconds_per_step: float
    """Of all lanes."""
    lane_steps_per_second: float
    evaluation_share: float
    """Of a default round: 40 steps, then 128 tune images a lane."""


def measure_fleet(lanes: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> FleetCost:
    """Times training steps and an evaluation of the default detector at 48 pixels."""
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, tune=128, test=1)
    fleet = Fleet(Task(name="bench", splits=splits), list(range(lanes)), device=device)
    batch = fleet.tasks[0].recipe.batch_size
    fleet.train(2 * batch)
    fleet.evaluate("tune")
    step = _fastest(lambda: fleet.train(steps * batch), repeats, device) / steps
    evaluation = _fastest(lambda: fleet.evaluate("tune"), repeats, device)
    return FleetCost(lanes, step, lanes / step, evaluation / (40 * step + evaluation))


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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {threads} thread{'s'[: threads > 1]}"
    table = Table(title=f"the tiny detector's fleet, 48 pixels, batch 16 ({name})")
    for heading in (
        "lanes",
        "ms a step",
        "lane-steps a second",
        "times the first row",
        "evaluation's share of a round",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.lanes),
            f"{1e3 * row.seconds_per_step:.1f}",
            f"{row.lane_steps_per_second:.0f}",
            f"{row.lane_steps_per_second / rows[0].lane_steps_per_second:.2f}",
            f"{row.evaluation_share:.1%}",
        )
    return table
