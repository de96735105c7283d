"""What an update of many numbers costs, beside torch's own optimizers on the same numbers.

Of torch there are two forms: ``foreach``, which calls a kernel for every piece of arithmetic, and ``fused``, which has
one for all of it and keeps no lanes apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.cost import fastest
from mapopt.training import OPTIMIZERS, Knobs, make_optimizer
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.optimizers.base import clip_rows, follow_rows

_PEERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "nadamw": torch.optim.NAdam}
_SETTINGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "nadamw": {"decoupled_weight_decay": True}}
_FUSED = ("sgd", "adamw")
_LAYER = (256, 256, 3, 3)
"""Of those that the numbers are cut into."""


@dataclass(frozen=True, kw_only=True)
class UpdateCost:
    """What one update of one lane costs, in seconds."""

    name: str
    """Of the optimizer, or what else is done at every step."""
    numbers: int
    ours: float
    foreach: float | None = None
    """Of torch's own; None where it has none."""
    fused: float | None = None


def measure_updates(numbers: int, repeats: int, device: torch.device, seed: int = 0) -> list[UpdateCost]:
    """Times updates of one lane's numbers; contenders take turns, and the fastest turn counts.

    Args:
        numbers: of the lane.
        repeats: turns.
        device: where.
        seed: of weights and gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = (torch.randn((1, numbers), generator=generator) * 0.05).to(device)
    gradient = (torch.randn((1, numbers), generator=generator) * 1e-3).to(device)
    costs = []
    for name in OPTIMIZERS:
        works = {"ours": _ours(name, weights.clone(), gradient)}
        if name in _PEERS:
            works["foreach"] = _theirs(name, weights, gradient, foreach=True)
        if name in _FUSED:
            works["fused"] = _theirs(name, weights, gradient, fused=True)
        costs.append(_cost(name, numbers, works, repeats, device))
    active = torch.ones(1, dtype=torch.bool, device=device)
    decay, average = torch.full((1,), 0.99, device=device), weights.clone()
    # A row that has just been scaled down to the limit is not scaled again, so the limit falls.
    limits = iter(float(gradient.norm()) * 0.99 ** (turn + 1) for turn in range(repeats + 1))
    others: dict[str, Callable[[], object]] = {
        "running average": lambda: follow_rows(average, weights, decay, active),
        "clipping, where it is needed": lambda: clip_rows(gradient, next(limits)),
    }
    return costs + [_cost(name, numbers, {"ours": work}, repeats, device) for name, work in others.items()]


def _cost(
    name: str, numbers: int, works: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> UpdateCost:
    for work in works.values():
        work()  # the first makes the state
    seconds = fastest(works, repeats=repeats, device=device, patience=60.0)
    return UpdateCost(name=name, numbers=numbers, **seconds)


def _ours(name: str, weights: Tensor, gradient: Tensor) -> Callable[[], object]:
    numbers = weights.shape[1]
    whole, left = divmod(numbers, math.prod(_LAYER))
    parts = {**{f"layer.{place}": _LAYER for place in range(whole)}, "left": (1, left)}
    optimizer = make_optimizer(name, weights, torch.ones(numbers, device=weights.device), parts=parts)
    knobs = stack_knobs([Knobs(lr=1e-3)], weights.device)
    active = torch.ones(1, dtype=torch.bool, device=weights.device)
    return lambda: optimizer.update(weights, gradient, knobs, active)


def _theirs(name: str, weights: Tensor, gradient: Tensor, **how: bool) -> Callable[[], object]:
    parameter = torch.nn.Parameter(weights[0].clone())
    parameter.grad = gradient[0].clone()
    settings = {"lr": 1e-3, "weight_decay": Knobs().get("weight_decay"), **_SETTINGS.get(name, {}), **how}
    return _PEERS[name]([parameter], **settings).step  # type: ignore[arg-type]


def update_table(costs: list[UpdateCost], *, title: str) -> Table:
    """Lays the costs out, in milliseconds."""
    table = new_table(title)
    table.add_column("update")
    for heading in ("ms", "torch, foreach", "torch, fused"):
        table.add_column(heading, justify="right")
    for cost in costs:
        times = (cost.ours, cost.foreach, cost.fused)
        table.add_row(cost.name, *("" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in times))
    return table
