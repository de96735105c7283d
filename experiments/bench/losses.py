"""The command `mapopt bench losses`: what every loss costs and what it is worth, in one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from rich.console import Console

from mapopt.commands.command import Command
from mapopt.devices import choose_device
from mapopt.errors import ConfigError, unknown_name
from mapopt.evaluation.text_tables import print_table
from mapopt.experiments.bench import loss_peers, loss_tables
from mapopt.experiments.bench.claims import Claim, check_claims
from mapopt.experiments.bench.growth import Contender, Limits, Point, contenders, largest_differences, measure_growth
from mapopt.experiments.bench.growth_pages import memory_page, time_page
from mapopt.experiments.bench.problems import KINDS
from mapopt.experiments.bench.worth import (
    Descent,
    Fidelity,
    LossPerList,
    Mass,
    descend,
    measure_fidelities,
    measure_mass,
    member,
)
from mapopt.files import write_json
from mapopt.losses import LOSSES
from mapopt.losses.sums.engines import load_kernels
from mapopt.output import Output

Part = Literal["time", "fidelity", "descent", "mass"]


@dataclass(frozen=True)
class Measured:
    """Everything that one run has measured."""

    seed: int
    device: str
    threads: int
    torch: str
    points: list[Point] = field(default_factory=list)
    differences: dict[str, tuple[float, float]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    fidelity: list[Fidelity] = field(default_factory=list)
    descent: list[Descent] = field(default_factory=list)
    mass: list[Mass] = field(default_factory=list)
    embeddings: list[loss_peers.OnEmbeddings] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BenchLosses(Command):
    """Measure what ranking losses cost and what they are worth.

    time: seconds and memory against the length of the list, beside the published loops over positives and the matrix
    of all pairs. fidelity: how each loss stands for AP, and whether its gradient raises it. descent: steps until AP is
    1. mass: which classes the gradient attends to. A default run takes a few minutes on one core.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench losses --out benchmark",
        "mapopt bench losses --parts time --members ap rank_sort --sizes 1000 100000",
    )

    parts: tuple[Part, ...] = ("time", "fidelity", "descent", "mass")
    """What to measure."""
    members: tuple[str, ...] = tuple(LOSSES)
    """Which losses."""
    peers: bool = False
    """Compare with LibAUC and pytorch-metric-learning too."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """time: lengths of the lists."""
    positives: tuple[float, ...] = (0.01, 10, 1000)
    """time: positives in a list; below 1 a share of it."""
    repeats: int = 10
    """time: turns of each, of which the fastest counts; what takes long gets fewer."""
    limit: float = 3.0
    """time: skip what is expected to take more seconds than this."""
    memory_limit: float = 4.0
    """time: skip what would keep more gigabytes than this."""
    lists: int = 200
    """fidelity: lists of each kind."""
    seeds: int = 16
    """descent: lists that each loss has to sort."""
    steps: int = 200
    """descent: most steps."""
    threads: int = 1
    """Threads of the CPU."""
    out: Path | None = None
    """Folder for losses.json and the figures; without it nothing is written."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        device = self._check()
        output = Output(self.out, ("losses.json", "*.png")) if self.out is not None else None
        if output is not None:
            output.check()
        peers = loss_peers.find_peers() if self.peers else loss_peers.Peers(modules={}, notes=[])
        console = Console(width=None if sys.stdout.isatty() else 150)
        compiled = device.type == "cpu" and load_kernels()
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {_threads(self.threads)}"
        console.print(f"{where}, torch {torch.__version__}{', compiled kernels loaded' if compiled else ''}")
        on_scores = loss_peers.on_scores(peers)
        notes = [*peers.notes, *([loss_peers.NOTE] if on_scores else [])]
        for note in notes:
            console.print(note)
        found = Measured(seed=self.seed, device=where, threads=self.threads, torch=torch.__version__, notes=notes)
        self._measure_time(found, on_scores, peers, device, console)
        self._measure_quality(found, on_scores, console)
        if "time" in self.parts:
            found.claims.extend(check_claims(found.points, found.differences))
            print_table(loss_tables.claims(found.claims), console)
        if output is not None:
            for path in _write(found, output.folder):
                console.print(f"wrote {path}")

    def _check(self) -> torch.device:
        for name in self.members:
            if name not in LOSSES:
                raise ConfigError(unknown_name("loss", name, LOSSES))
        for flag, values, least in (
            ("sizes", self.sizes, 2),
            ("positives", self.positives, 1e-6),
            ("repeats", (self.repeats,), 1),
            ("limit", (self.limit,), 1e-3),
            ("memory-limit", (self.memory_limit,), 1e-3),
            ("lists", (self.lists,), 4),
            ("seeds", (self.seeds,), 1),
            ("steps", (self.steps,), 1),
        ):
            if not values or min(values) < least:
                given = " ".join(map(str, values)) or "empty"
                raise ConfigError(f"--{flag} is {given}: expected {least:g} or more")
        if not self.parts or not self.members:
            raise ConfigError(f"--{'parts' if self.members else 'members'} is empty: name at least one")
        return choose_device(self.device, threads=self.threads)

    def _measure_time(
        self,
        found: Measured,
        on_scores: Sequence[Contender],
        peers: loss_peers.Peers,
        device: torch.device,
        console: Console,
    ) -> None:
        if "time" not in self.parts:
            return
        limits = Limits(seconds=self.limit, bytes=int(self.memory_limit * 1e9), repeats=self.repeats)
        field = [*contenders(self.members), *on_scores]
        with console.status("") as status:
            points = measure_growth(
                field,
                self.sizes,
                self.positives,
                limits,
                device=device,
                seed=self.seed,
                progress=lambda text: status.update(f"timing: {text}"),
            )
        found.points.extend(points)
        found.differences.update(largest_differences(self.members, seed=self.seed))
        for count in self.positives:
            part = [
                one
                for one in points
                if (one.fraction == count if count < 1 else not one.fraction and one.positives == count)
            ]
            if part:
                print_table(loss_tables.growth(part), console)
        found.embeddings.extend(loss_peers.on_embeddings(peers, repeats=self.repeats, device=device, seed=self.seed))
        if found.embeddings:
            print_table(loss_tables.embeddings(found.embeddings), console)

    def _measure_quality(self, found: Measured, on_scores: Sequence[Contender], console: Console) -> None:
        """Measures what depends on numbers only, on the CPU."""
        losses: dict[str, LossPerList] = {name: member(name) for name in self.members}
        losses |= {one.name: loss_peers.by_list(one) for one in on_scores}
        if "fidelity" in self.parts:
            found.fidelity.extend(measure_fidelities(losses, KINDS, lists=self.lists, seed=self.seed))
            for table in loss_tables.fidelity(found.fidelity):
                print_table(table, console)
        if "descent" in self.parts:
            sort = partial(descend, seeds=self.seeds, limit=self.steps, seed=self.seed)
            found.descent.extend(sort(name, loss) for name, loss in losses.items())
            print_table(loss_tables.descent(found.descent), console)
        if "mass" in self.parts:
            for name, loss in losses.items():
                found.mass.extend(measure_mass(name, loss, candidates=4000, seed=self.seed))
            print_table(loss_tables.mass(found.mass), console)


def _write(found: Measured, folder: Path) -> list[Path]:
    write_json(folder / "losses.json", asdict(found))
    paths = [folder / "losses.json"]
    if any(one.fraction and one.seconds for one in found.points):
        where = found.device[0].upper() + found.device[1:]
        # matplotlib is imported only where something is drawn.
        from mapopt.drawing.benchmark_figures import save_benchmark

        for page in (time_page(found.points, where=where), memory_page(found.points, where=where)):
            paths.append(save_benchmark(page, folder))
    return paths


def _threads(number: int) -> str:
    return "one thread" if number == 1 else f"{number} threads"
