"""What it costs to train many lanes as one network, beside one after the other, and where the time of a round goes."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.arithmetic import StepArithmetic, arithmetic_table, measure_arithmetic
from mapopt.experiments.bench.cost import fastest_of
from mapopt.experiments.bench.expected import fleet_seconds
from mapopt.experiments.bench.idle import IdleCosts, active_table, measure_idle, searches_table
from mapopt.experiments.bench.round import RoundCost, measure_round, round_table
from mapopt.experiments.bench.settings import FleetSettings
from mapopt.experiments.bench.updates import UpdateCost, measure_updates, update_table
from mapopt.passes import Parts
from mapopt.training import Fleet, Task


@dataclass(frozen=True)
class FleetCost:
    """What a fleet of some lanes costs."""

    lanes: int
    seconds_per_step: float
    """Of all lanes."""
    lane_steps_per_second: float


@dataclass(frozen=True, kw_only=True)
class LanesRound:
    """What a round of some lanes costs."""

    lanes: int
    cost: RoundCost


@dataclass(frozen=True, kw_only=True)
class FleetCosts:
    """Everything that a run has measured."""

    fleets: tuple[FleetCost, ...]
    rounds: tuple[LanesRound, ...]
    arithmetic: tuple[StepArithmetic, ...] = ()
    updates: tuple[UpdateCost, ...] = ()
    idle: IdleCosts | None = None


def bench_fleet(settings: FleetSettings, *, seed: int, device: torch.device) -> FleetCosts:
    """Measures fleets, and prints what they cost.

    Args:
        settings: which fleets.
        seed: of the scenes and the lanes.
        device: where they train.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    name = device_name(device, settings.threads)
    with Parts("bench fleet", fleet_seconds(settings)) as parts:
        fleets = [measure_fleet(lanes, settings.steps, settings.repeats, device, seed) for lanes in settings.lanes]
        print_table(_table(fleets, name), console)
        parts.done("steps")
        idle = measure_idle(max(settings.lanes), settings.steps, settings.repeats, device, seed)
        print_table(active_table(idle.active, title=f"lanes that train while others rest ({name})"), console)
        print_table(searches_table(idle.halving, idle.alone, title=f"fewer and fewer lanes ({name})"), console)
        parts.done("idle")
        many = sorted({*settings.lanes, 2} - {1})
        rounds = [LanesRound(lanes=lanes, cost=measure_round(lanes, settings.repeats, device, seed)) for lanes in many]
        title, costs = f"a round of the fleet ({name})", [played.cost for played in rounds]
        print_table(round_table([str(lanes) for lanes in many], costs, title=title), console)
        parts.done("rounds")
        arithmetic = [measure_arithmetic(lanes, settings.repeats, device, seed) for lanes in many]
        print_table(arithmetic_table(arithmetic, title=f"the arithmetic of its steps ({name})"), console)
        parts.done("arithmetic")
        updates = measure_updates(settings.numbers, settings.repeats, device, seed) if settings.numbers else []
        if updates:
            title = f"an update of {settings.numbers:,} numbers of one lane ({name})"
            print_table(update_table(updates, title=title), console)
            parts.done("updates")
    return FleetCosts(
        fleets=tuple(fleets),
        rounds=tuple(rounds),
        arithmetic=tuple(arithmetic),
        updates=tuple(updates),
        idle=idle,
    )


def measure_fleet(lanes: int, steps: int, repeats: int, device: torch.device, seed: int = 0) -> FleetCost:
    """Times training steps of the default detector at 48 pixels."""
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, val=1, test=1)
    fleet = Fleet(Task(name="bench", splits=splits), list(range(lanes)), device=device)
    batch = fleet.tasks[0].recipe.batch_size
    fleet.train(2 * batch)
    seconds = fastest_of(lambda: fleet.train(steps * batch), repeats=repeats, device=device) / steps
    return FleetCost(lanes, seconds, lanes / seconds)


def device_name(device: torch.device, threads: int) -> str:
    """Returns what a table calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {threads} thread{'s'[: threads > 1]}"


def _table(costs: list[FleetCost], name: str) -> Table:
    table = new_table(f"the tiny detector's fleet, 48 pixels, batch 16 ({name})")
    for heading in ("lanes", "ms a step", "lane-steps a second", "times the first row"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            str(cost.lanes),
            f"{1e3 * cost.seconds_per_step:.1f}",
            f"{cost.lane_steps_per_second:.0f}",
            f"{cost.lane_steps_per_second / costs[0].lane_steps_per_second:.2f}",
        )
    return table
