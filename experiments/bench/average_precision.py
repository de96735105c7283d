"""The command `mapopt bench ap`: the evaluator beside pycocotools and the packages of others, in one run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mapopt.commands.command import Command
from mapopt.errors import ConfigError
from mapopt.evaluation.text_tables import print_table
from mapopt.experiments.bench.average_precision_row import Row
from mapopt.experiments.bench.average_precision_tables import table, times_page
from mapopt.experiments.bench.peers.average_precision import PEERS, PYCOCOTOOLS, Peer
from mapopt.experiments.bench.peers.ours import our_bootstrap, our_lanes, ours
from mapopt.experiments.bench.peers.sets import SETS, SetSize
from mapopt.experiments.bench.peers.workers import PeerError, Turn, Worker
from mapopt.files import write_json
from mapopt.output import Output

PATIENCE = 30.0
"""Seconds on a set after which an evaluator gets no further turn."""

TURN = 0.2
"""Seconds that a turn lasts at least: what is faster runs several times in it."""

LANES, RESAMPLES = 16, 1000


class Runner(Protocol):
    """Somebody who runs an evaluator on a set; see `Worker`."""

    def run(self, seconds: float) -> Turn:
        """Runs for some time and returns the fastest run."""

    def close(self) -> None:
        """Ends."""


@dataclass(frozen=True, kw_only=True)
class BenchAP(Command):
    """Measure time and memory of AP beside pycocotools and the packages that others offer for it.

    From arrays in memory to the twelve numbers, on random sets: small (64 images), medium (512), coco (5000 images, 80
    categories, 100 detections an image) and crowded (200 images, 3 categories, 80 objects and 400 detections in each).
    Every evaluator has a process with one thread; they take turns, and the fastest turn counts, in processor time. A
    default run takes some minutes, most of them pycocotools' on the coco set.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench ap --sets small crowded",
        "mapopt bench ap --peers False --out benchmark",
    )

    sets: tuple[Literal["small", "medium", "coco", "crowded"], ...] = ("small", "medium", "coco", "crowded")
    """Which sets."""
    repeats: int = 5
    """Turns of each evaluator after a first one, which measures memory; the fastest counts. Who has had 30 s
    gets no further one."""
    peers: bool = True
    """Compare with the packages of others, where they are installed, too."""
    out: Path | None = None
    """Folder for ap.json and ap.png; without it nothing is written."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        if self.repeats < 1:
            raise ConfigError(f"--repeats is {self.repeats}: expected 1 or more")
        if not self.sets:
            raise ConfigError(f"--sets is empty: name at least one of {', '.join(SETS)}")
        output = Output(self.out, ("ap.json", "ap.png")) if self.out is not None else None
        if output is not None:
            output.check()
        console = Console(width=None if sys.stdout.isatty() else 150)
        rows = []
        for name in dict.fromkeys(self.sets):
            measured = measure(name, evaluators(name, peers=self.peers), repeats=self.repeats, seed=self.seed)
            print_table(table(measured, SETS[name]), console)
            rows += measured
        if output is not None:
            write_json(output.folder / "ap.json", {"seed": self.seed, "rows": [asdict(row) for row in rows]})
            # matplotlib is imported only where something is drawn.
            from mapopt.drawing.benchmark_figures import save_benchmark

            save_benchmark(times_page(rows), output.folder)
            console.print(f"wrote {output.folder / 'ap.json'} and {output.folder / 'ap.png'}")


def evaluators(name: str, *, peers: bool) -> list[Peer]:
    """Returns who is measured on a set: ours in every way that suits its size, pycocotools, and others."""
    chosen = [ours("numba"), ours("numpy"), ours("numba", "reward"), ours("numpy", "reward")]
    if name == "small":
        chosen += [our_lanes("numba", LANES), our_lanes("numba", LANES, "reward")]
    if name in ("small", "medium"):
        chosen.append(our_bootstrap("numba", RESAMPLES))
    return chosen + (list(PEERS.values()) if peers else [PYCOCOTOOLS])


def measure(
    name: str,
    peers: Sequence[Peer],
    *,
    repeats: int,
    seed: int = 0,
    start: Callable[[Peer, SetSize, int], Runner] = Worker,
) -> list[Row]:
    """Lets evaluators take turns on a set, and compares their numbers with pycocotools'.

    Args:
        name: Of the set.
        peers: Who is measured, pycocotools among them if numbers are to be compared.
        repeats: Turns of each after the first, which is a single run and measures memory.
        seed: Of the set.
        start: Gives an evaluator someone who runs it.
    """
    runners: dict[str, Runner] = {}
    turns: dict[str, list[Turn]] = {peer.name: [] for peer in peers}
    problems: dict[str, str] = {}
    try:
        for repeat in range(repeats + 1):
            for peer in peers:
                done = turns[peer.name]
                if peer.name in problems or sum(turn.total for turn in done) > PATIENCE:
                    continue
                if not peer.installed:
                    problems[peer.name] = f"not installed: {peer.remedy}"
                    continue
                if repeat == 0:
                    runners[peer.name] = start(peer, SETS[name], seed)
                try:
                    done.append(runners[peer.name].run(0.0 if repeat == 0 else TURN))
                except PeerError as error:
                    problems[peer.name] = str(error)
    finally:
        for runner in runners.values():
            runner.close()
    reference = turns.get(PYCOCOTOOLS.name) or None
    expected = None if reference is None else reference[0].stats
    return [_row(name, peer, turns[peer.name], problems.get(peer.name, ""), expected) for peer in peers]


def _row(name: str, peer: Peer, turns: Sequence[Turn], problem: str, expected: NDArray[np.float64] | None) -> Row:
    row = Row(set=name, evaluator=peer.name, ours=peer.package == "mapopt", whole=peer.whole, problem=problem)
    if problem or not turns:
        return row
    best = min(turns, key=lambda turn: turn.total)
    memory = turns[0].memory
    return replace(
        row,
        version=peer.version,
        convert=best.convert / peer.evaluations,
        evaluate=best.evaluate / peer.evaluations,
        memory=None if np.isnan(memory) else memory,
        difference=None if expected is None else float(np.nanmax(np.abs(best.stats - expected))),
    )
