"""What lanes that rest cost: steps of some of a fleet's lanes, a halving, and a lane by itself beside a padded one.

What is compared takes turns in one run, and the median turn counts: what else runs on the machine then slows all of it
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from unittest.mock import patch

import torch
from rich.table import Table

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors import TinyNetwork
from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.cost import measure
from mapopt.experiments.bench.settings import SETTINGS
from mapopt.training import Fleet, Task


@dataclass(frozen=True, kw_only=True)
class ActiveCost:
    """What a step costs while some lanes of a fleet train and the others rest."""

    active: int
    lanes: int
    seconds: float
    """Of a step of all active lanes."""
    lane_steps: float
    """The same in lane-steps of the whole fleet: a lane's part of a step in which every lane trains."""


@dataclass(frozen=True, kw_only=True)
class HalvingCost:
    """What it costs to train many settings, and in every round the half of those before."""

    settings: int
    images: int
    """Trained on, by all lanes."""
    seconds: float
    ratio: float
    """To what as many images cost while every lane trains."""


@dataclass(frozen=True, kw_only=True)
class AloneCost:
    """What a single lane costs."""

    images_per_second: float
    padded_images_per_second: float
    """With an idle twin beside it, as where nothing is compiled."""
    ratio: float


@dataclass(frozen=True, kw_only=True)
class IdleCosts:
    """All of it."""

    active: tuple[ActiveCost, ...]
    halving: HalvingCost
    alone: AloneCost


def measure_idle(lanes: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> IdleCosts:
    """Measures what lanes that rest cost.

    Args:
        lanes: of the fleet.
        steps: of 16 images per measurement.
        repeats: turns.
        device: where they train.
        seed: of the scenes and the lanes.
    """
    return IdleCosts(
        active=tuple(measure_active(lanes, steps, repeats, device, seed)),
        halving=measure_halving(SETTINGS, steps, repeats, device, seed),
        alone=measure_alone(steps, repeats, device, seed),
    )


def measure_active(lanes: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> list[ActiveCost]:
    """Times steps of 1, 2, 4, ... of a fleet's lanes, and of all of them."""
    fleet = _fleet(lanes, device, seed)
    counts = sorted({2**power for power in range(lanes.bit_length()) if 2**power < lanes} | {lanes})
    seconds = _turns({str(count): _steps(fleet, count, steps) for count in counts}, repeats, device)
    lane_step = median(seconds[str(lanes)]) / lanes
    each = {count: median(seconds[str(count)]) for count in counts}
    return [
        ActiveCost(active=count, lanes=lanes, seconds=each[count] / steps, lane_steps=each[count] / lane_step)
        for count in counts
    ]


def measure_halving(settings: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> HalvingCost:
    """Times rounds of equally many steps, in each of which half of the lanes of the one before go on, to the last."""
    fleet = _fleet(settings, device, seed)
    counts = [settings]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    rounds = [_steps(fleet, count, steps) for count in counts]
    everyone = rounds[0]

    def halve() -> None:
        for play in rounds:
            play()

    seconds = _turns({"halving": halve, "all": everyone}, repeats, device)
    ratios = [ours / whole for ours, whole in zip(seconds["halving"], seconds["all"], strict=True)]
    return HalvingCost(
        settings=settings,
        images=sum(counts) * steps * fleet.tasks[0].recipe.batch_size,
        seconds=median(seconds["halving"]),
        ratio=median(ratios) * settings / sum(counts),
    )


def measure_alone(steps: int, repeats: int, device: torch.device, seed: int = 0) -> AloneCost:
    """Times the steps of a single lane by itself, and with a twin that trains nothing."""
    alone = _fleet(1, device, seed)
    step = _steps(alone, 1, steps)

    def padded() -> None:
        with patch.object(TinyNetwork, "min_lanes", lambda *_: 2):
            step()

    seconds = _turns({"alone": step, "padded": padded}, repeats, device)
    images = steps * alone.tasks[0].recipe.batch_size
    own, beside = (images / median(seconds[name]) for name in ("alone", "padded"))
    ratios = [twin / single for single, twin in zip(seconds["alone"], seconds["padded"], strict=True)]
    return AloneCost(images_per_second=own, padded_images_per_second=beside, ratio=median(ratios))


def _fleet(lanes: int, device: torch.device, seed: int) -> Fleet:
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, val=1, test=1)
    return Fleet(Task(name="bench", splits=splits), list(range(lanes)), device=device)


def _steps(fleet: Fleet, active: int, steps: int) -> Callable[[], object]:
    """Returns what trains the first lanes of a fleet for some steps."""
    images = steps * fleet.tasks[0].recipe.batch_size
    return lambda: fleet.train(images, active=[lane < active for lane in range(fleet.lanes)])


def _turns(works: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Returns the seconds of every turn of each work but a first one, by which what is compiled is loaded."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(measure(work, device))
    return seconds


def active_table(costs: Sequence[ActiveCost], *, title: str) -> Table:
    """Lays out what a step of some lanes costs."""
    table = new_table(title)
    for heading in ("active lanes", "ms a step", "ms an active lane", "lane-steps of the whole fleet"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            f"{cost.active} of {cost.lanes}",
            f"{1e3 * cost.seconds:.1f}",
            f"{1e3 * cost.seconds / cost.active:.2f}",
            f"{cost.lane_steps:.2f}",
        )
    return table


def searches_table(halving: HalvingCost, alone: AloneCost, *, title: str) -> Table:
    """Lays out what a halving and a single lane cost."""
    table = new_table(title)
    table.add_column("what")
    for heading in ("images a second", "beside", "ratio"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"halving of {halving.settings} settings",
        f"{halving.images / halving.seconds:.0f}",
        f"{halving.images / halving.seconds * halving.ratio:.0f}",
        f"costs {halving.ratio:.2f} times",
    )
    table.add_row(
        "a single lane",
        f"{alone.images_per_second:.0f}",
        f"{alone.padded_images_per_second:.0f}",
        f"{alone.ratio:.2f} times the images",
    )
    table.caption = "a halving beside as many images while all lanes train, a single lane beside one with an idle twin"
    return table
