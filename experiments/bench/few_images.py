"""AP of few images and few categories over the first calls of a process, beside the packages of others.

Every turn of an evaluator is a process of its own, so that what it loads counts each time; the median turn counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.peers.average_precision import PEERS, PYCOCOTOOLS, Peer
from mapopt.experiments.bench.peers.first_calls import first_calls
from mapopt.experiments.bench.peers.ours import ours
from mapopt.experiments.bench.peers.sets import SetSize
from mapopt.experiments.bench.peers.workers import PeerError
from mapopt.metrics.engines import Backend

CALLS = (1, 10, 100)
"""Numbers of calls."""

SLOW = 5.0
"""Other packages that take so many times as long as the fastest of them for their first call make no more than one."""

FEW = tuple(
    SetSize(images=images, categories=categories, objects=7.3, detections=100)
    for images in (64, 512)
    for categories in (1, 3, 20)
)
"""The sets."""

OURS: tuple[Backend, ...] = ("numpy", "numba", "auto")
"""Our backends, in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class CallsCost:
    """What the first calls of an evaluator cost on a set.

    Attributes:
        images: of the set.
        categories: of the set.
        evaluator: what the table calls it.
        ours: whether it is this package's.
        version: of its package.
        seconds: processor seconds of the first `CALLS` calls together, each from arrays in memory to the twelve
            numbers; fewer where they would take too long, none where there is a problem.
        problem: why there are none.
    """

    images: int
    categories: int
    evaluator: str
    ours: bool
    version: str = ""
    seconds: tuple[float, ...] = ()
    problem: str = ""


Start = Callable[[Peer, SetSize, int, Sequence[int]], tuple[float, ...]]


def few_images_evaluators(*, peers: bool) -> list[Peer]:
    """Returns who takes turns: our three backends, pycocotools, and the packages of others."""
    return [ours(backend) for backend in OURS] + (list(PEERS.values()) if peers else [PYCOCOTOOLS])


def measure_calls(
    size: SetSize, peers: Sequence[Peer], *, repeats: int, seed: int = 0, start: Start = first_calls
) -> list[CallsCost]:
    """Lets evaluators take turns on a set.

    Args:
        size: of the set.
        peers: what is measured.
        repeats: turns of each after a first one that does not count: it fills caches on disk.
        seed: of the set.
        start: runs the first calls of a process.
    """
    turns: dict[str, list[tuple[float, ...]]] = {peer.name: [] for peer in peers}
    first: dict[str, float] = {}  # seconds of the first calls of others
    problems = {peer.name: f"not installed: {peer.remedy}" for peer in peers if not peer.installed}
    for repeat in range(repeats + 1):
        for peer in peers:
            if peer.name in problems:
                continue
            slow = peer.name in first and first[peer.name] > SLOW * min(first.values())
            try:
                seconds = start(peer, size, seed, CALLS[:1] if slow or repeat == 0 else CALLS)
            except PeerError as error:
                problems[peer.name] = str(error)
                continue
            if repeat:
                turns[peer.name].append(seconds)
            elif peer.package != "mapopt":
                first[peer.name] = seconds[0]
    return [
        CallsCost(
            images=size.images,
            categories=size.categories,
            evaluator=peer.name,
            ours=peer.package == "mapopt",
            version="" if peer.name in problems else peer.version,
            seconds=()
            if peer.name in problems
            else tuple(map(statistics.median, zip(*turns[peer.name], strict=False))),
            problem=problems.get(peer.name, ""),
        )
        for peer in peers
    ]


def calls_table(costs: Sequence[CallsCost]) -> Table:
    """Returns a row for every set and number of calls: the fastest other package, and ours as ratios to it."""
    table = new_table(
        "few images: the first calls of a process, loading included; processor time from arrays to the twelve numbers",
        caption="of all calls together, the median of several processes; ratios are to the fastest other package, "
        "below 1 ours is faster",
    )
    for heading in ("images", "categories", "calls", "fastest other", "ms", *OURS):
        table.add_column(heading, justify="left" if heading == "fastest other" else "right", no_wrap=True)
    sets = dict.fromkeys((cost.images, cost.categories) for cost in costs)
    for images, categories in sets:
        rows = [cost for cost in costs if (cost.images, cost.categories) == (images, categories)]
        for column, calls in enumerate(CALLS):
            measured = [cost for cost in rows if len(cost.seconds) > column]
            others = [cost for cost in measured if not cost.ours]
            fastest = min(others, key=lambda cost: cost.seconds[column], default=None)
            times = {cost.evaluator: cost.seconds[column] for cost in measured if cost.ours}
            table.add_row(
                str(images),
                str(categories),
                str(calls),
                fastest.evaluator if fastest else "–",
                _milliseconds(fastest.seconds[column]) if fastest else "–",
                *(_ratio(times.get(ours(backend).name), fastest, column) for backend in OURS),
            )
    return table


def _ratio(seconds: float | None, fastest: CallsCost | None, column: int) -> str:
    if seconds is None:
        return "–"
    return _milliseconds(seconds) + " ms" if fastest is None else f"{seconds / fastest.seconds[column]:.2f}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"
