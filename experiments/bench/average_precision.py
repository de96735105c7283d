"""The command `mapopt bench ap`: the evaluator beside pycocotools, seconds and bits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapopt.commands.command import Command, choose_device
from mapopt.commands.output import Output
from mapopt.errors import ConfigError
from mapopt.files import write_json
from mapopt.metrics.benchmark import EngineCost, measure_engines


@dataclass(frozen=True, kw_only=True)
class BenchAP(Command):
    """Measure AP beside pycocotools on random sets, with a comparison of the bits.

    Figures are minima of several repeats in one run, in seconds of the process; all of it runs on the CPU.
    """

    images: tuple[int, ...] = (64, 512)
    """Sizes of the random sets."""
    categories: int = 80
    """Categories in them."""
    engines: tuple[Literal["numpy", "numba"], ...] = ("numpy", "numba")
    """Which of our engines."""
    repeats: int = 5
    """The fastest of so many counts."""
    threads: int = 1
    """Threads of the CPU."""
    out: Path | None = None
    """Folder for ap.json; without it nothing is written."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        for flag, least in (
            ("images", min(self.images, default=0)),
            ("categories", self.categories),
            ("repeats", self.repeats),
            ("engines", len(self.engines)),
        ):
            if least < 1:
                raise ConfigError(f"--{flag} is {getattr(self, flag)}: expected 1 or more")
        choose_device(self.device, threads=self.threads)
        output = Output(self.out, ("ap.json",)) if self.out is not None else None
        if output is not None:
            output.check()
        rows = [
            row
            for images in self.images
            for row in measure_engines(
                images, categories=self.categories, repeats=self.repeats, engines=self.engines, seed=self.seed
            )
        ]
        console = Console(width=None if sys.stdout.isatty() else 150)
        console.print(_table(rows))
        if output is not None:
            write_json(output.folder / "ap.json", [asdict(row) for row in rows])
            console.print(f"wrote {output.folder / 'ap.json'}")


def _table(rows: Sequence[EngineCost]) -> Table:
    table = Table(title="average precision beside pycocotools", title_justify="left", pad_edge=False)
    for heading in ("images", "detections"):
        table.add_column(heading, justify="right")
    for heading in ("engine", "mode"):
        table.add_column(heading)
    for heading in ("pycocotools, ms", "ms", "times faster"):
        table.add_column(heading, justify="right")
    table.add_column("bits")
    for row in rows:
        table.add_row(
            str(row.images),
            str(row.detections),
            row.engine,
            row.mode,
            f"{1e3 * row.pycocotools_seconds:.1f}",
            f"{1e3 * row.seconds:.2f}",
            f"{row.pycocotools_seconds / row.seconds:.0f}",
            Text("the same", style="green") if row.same_bits else Text("DIFFERENT", style="bold red"),
        )
    return table
