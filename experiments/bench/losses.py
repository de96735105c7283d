"""What every loss costs and how well it stands for AP, measured and printed in one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from mapopt.evaluation.text_tables import print_table
from mapopt.experiments.bench import loss_peers, loss_tables
from mapopt.experiments.bench.claims import Claim, check_claims
from mapopt.experiments.bench.expected import losses_seconds
from mapopt.experiments.bench.fidelity import (
    Descent,
    Fidelity,
    LossPerList,
    Mass,
    descend,
    measure_fidelities,
    measure_mass,
    member,
)
from mapopt.experiments.bench.growth import Contender, Limits, Point, contenders, largest_differences, measure_growth
from mapopt.experiments.bench.growth_pages import memory_page, time_page
from mapopt.experiments.bench.problems import KINDS
from mapopt.experiments.bench.settings import LossSettings
from mapopt.files import write_json
from mapopt.losses.sums.engines import load_kernels
from mapopt.passes import Parts


@dataclass(frozen=True)
class Measured:
    """Everything that a run has measured."""

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


def bench_losses(settings: LossSettings, *, seed: int, device: torch.device) -> Measured:
    """Measures losses, and prints what came of it.

    Args:
        settings: which losses, and what of them.
        seed: of the lists.
        device: of the lists whose time is measured.

    Raises:
        ConfigError: a loss cannot be imported, or a package to compare with is not installed.
    """
    peers = loss_peers.find_peers() if settings.peers else loss_peers.Peers(modules={}, notes=[])
    losses: dict[str, LossPerList] = {name: member(name) for name in settings.members}
    console = Console(width=None if sys.stdout.isatty() else 150)
    compiled = device.type == "cpu" and load_kernels()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {_threads(settings.threads)}"
    console.print(f"{where}, torch {torch.__version__}{', compiled kernels loaded' if compiled else ''}")
    on_scores = loss_peers.on_scores(peers)
    notes = [*peers.notes, *([loss_peers.NOTE] if on_scores else [])]
    for note in notes:
        console.print(note)
    measured = Measured(seed=seed, device=where, threads=settings.threads, torch=torch.__version__, notes=notes)
    with Parts("bench losses", losses_seconds(settings)) as parts:
        if "time" in settings.parts:
            _measure_time(measured, settings, on_scores, device, console)
            rows = loss_peers.on_embeddings(peers, repeats=settings.repeats, device=device, seed=seed)
            measured.embeddings.extend(rows)
            if rows:
                print_table(loss_tables.embeddings(rows), console)
            parts.done("time")
        losses |= {contender.name: loss_peers.by_list(contender) for contender in on_scores}
        _measure_quality(measured, settings, losses, console, parts)
    if "time" in settings.parts:
        measured.claims.extend(check_claims(measured.points, measured.differences))
        print_table(loss_tables.claims(measured.claims), console)
    return measured


def write_losses(measured: Measured, folder: Path) -> list[Path]:
    """Writes ``losses.json`` and the figures that there are points for, and returns their paths."""
    write_json(folder / "losses.json", asdict(measured))
    paths = [folder / "losses.json"]
    if any(point.fraction and point.seconds for point in measured.points):
        # matplotlib is imported only where something is drawn.
        from mapopt.drawing.benchmark_figures import save_benchmark

        where = measured.device[0].upper() + measured.device[1:]
        for page in (time_page(measured.points, where=where), memory_page(measured.points, where=where)):
            paths.append(save_benchmark(page, folder))
    return paths


def _measure_time(
    measured: Measured, settings: LossSettings, on_scores: Sequence[Contender], device: torch.device, console: Console
) -> None:
    """Measures seconds and bytes against the length of the list."""
    limits = Limits(seconds=settings.limit, bytes=int(settings.memory_limit * 1e9), repeats=settings.repeats)
    with console.status("") as status:
        points = measure_growth(
            [*contenders(settings.members), *on_scores],
            settings.sizes,
            settings.positives,
            limits,
            device=device,
            seed=measured.seed,
            progress=lambda text: status.update(f"timing: {text}"),
        )
    measured.points.extend(points)
    measured.differences.update(largest_differences(settings.members, seed=measured.seed))
    for count in settings.positives:
        part = [point for point in points if _has(point, count)]
        if part:
            print_table(loss_tables.growth(part), console)


def _measure_quality(
    measured: Measured, settings: LossSettings, losses: dict[str, LossPerList], console: Console, parts: Parts
) -> None:
    """Measures what depends on numbers only, on the CPU."""
    seed = measured.seed
    if "fidelity" in settings.parts:
        measured.fidelity.extend(measure_fidelities(losses, KINDS, lists=settings.lists, seed=seed))
        for table in loss_tables.fidelity(measured.fidelity):
            print_table(table, console)
        parts.done("fidelity")
    if "descent" in settings.parts:
        sort = partial(descend, seeds=settings.seeds, limit=settings.steps, seed=seed)
        measured.descent.extend(sort(name, loss) for name, loss in losses.items())
        print_table(loss_tables.descent(measured.descent), console)
        parts.done("descent")
    if "mass" in settings.parts:
        for name, loss in losses.items():
            measured.mass.extend(measure_mass(name, loss, candidates=4000, seed=seed))
        print_table(loss_tables.mass(measured.mass), console)
        parts.done("mass")


def _has(point: Point, count: float) -> bool:
    """Returns whether a point is of a number of positives, or of a fraction below 1."""
    return point.fraction == count if count < 1 else not point.fraction and point.positives == count


def _threads(number: int) -> str:
    return "one thread" if number == 1 else f"{number} threads"
