"""The evaluator beside pycocotools and the packages of others, which take turns in one run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mapopt.evaluation.text_tables import print_table
from mapopt.experiments.bench.average_precision_tables import table, times_page
from mapopt.experiments.bench.evaluator_cost import EvaluatorCost
from mapopt.experiments.bench.expected import evaluators_seconds
from mapopt.experiments.bench.few_images import FEW, CallsCost, calls_table, few_images_evaluators, measure_calls
from mapopt.experiments.bench.peers.average_precision import PEERS, PYCOCOTOOLS, Peer
from mapopt.experiments.bench.peers.ours import our_bootstrap, our_lanes, ours
from mapopt.experiments.bench.peers.sets import SETS, SetSize
from mapopt.experiments.bench.peers.workers import PeerError, Turn, Worker
from mapopt.experiments.bench.settings import EvaluatorSettings
from mapopt.files import write_json
from mapopt.passes import Parts

PATIENCE = 30.0
"""Seconds on a set after which an evaluator gets no further turn."""

TURN = 0.2
"""Seconds that a turn lasts at the least: what is faster runs several times in it."""

LANES, RESAMPLES = 16, 1000


@dataclass(frozen=True, kw_only=True)
class EvaluatorCosts:
    """What was measured: evaluators on whole sets, and their first calls where images are few."""

    sets: tuple[EvaluatorCost, ...]
    calls: tuple[CallsCost, ...]


class Runner(Protocol):
    """Whatever runs an evaluator on a set; see `Worker`."""

    def run(self, seconds: float) -> Turn:
        """Runs for some time and returns the fastest run."""

    def close(self) -> None:
        """Ends."""


def bench_evaluators(settings: EvaluatorSettings, *, seed: int) -> EvaluatorCosts:
    """Measures evaluators on sets, and prints what they cost.

    Args:
        settings: which sets and evaluators.
        seed: of the sets.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    costs: list[EvaluatorCost] = []
    calls: list[CallsCost] = []
    with Parts("bench ap", evaluators_seconds(settings)) as parts:
        for name in dict.fromkeys(settings.sets):
            if name == "few":
                chosen = few_images_evaluators(peers=settings.peers)
                for size in FEW:
                    calls += measure_calls(size, chosen, repeats=settings.repeats, seed=seed)
                print_table(calls_table(calls), console)
            else:
                measured = measure(name, evaluators(name, peers=settings.peers), repeats=settings.repeats, seed=seed)
                print_table(table(measured, SETS[name]), console)
                costs += measured
            parts.done(name)
    return EvaluatorCosts(sets=tuple(costs), calls=tuple(calls))


def write_evaluators(costs: EvaluatorCosts, folder: Path, *, seed: int) -> list[Path]:
    """Writes ``ap.json``, and ``ap.png`` of the larger sets, and returns their paths."""
    rows, calls = ([asdict(cost) for cost in part] for part in (costs.sets, costs.calls))
    write_json(folder / "ap.json", {"seed": seed, "rows": rows, "calls": calls})
    if not costs.sets:
        return [folder / "ap.json"]
    # matplotlib is imported only where something is drawn.
    from mapopt.drawing.benchmark_figures import save_benchmark

    return [folder / "ap.json", save_benchmark(times_page(costs.sets), folder)]


def evaluators(name: str, *, peers: bool) -> list[Peer]:
    """Returns which are measured on a set: ours in every way that suits its size, pycocotools, and others."""
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
) -> list[EvaluatorCost]:
    """Lets evaluators take turns on a set, and compares their numbers with pycocotools'.

    Args:
        name: of the set.
        peers: what is measured, pycocotools among them if numbers are to be compared.
        repeats: turns of each after the first, which is a single run and measures memory.
        seed: of the set.
        start: returns what runs an evaluator.
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
    return [_cost(name, peer, turns[peer.name], problems.get(peer.name, ""), expected) for peer in peers]


def _cost(
    name: str, peer: Peer, turns: Sequence[Turn], problem: str, expected: NDArray[np.float64] | None
) -> EvaluatorCost:
    ours = peer.package == "mapopt"
    cost = EvaluatorCost(set=name, evaluator=peer.name, ours=ours, whole=peer.whole, problem=problem)
    if problem or not turns:
        return cost
    best = min(turns, key=lambda turn: turn.total)
    memory = turns[0].memory
    return replace(
        cost,
        version=peer.version,
        convert=best.convert / peer.evaluations,
        evaluate=best.evaluate / peer.evaluations,
        memory=None if np.isnan(memory) else memory,
        difference=None if expected is None else float(np.nanmax(np.abs(best.stats - expected))),
    )
