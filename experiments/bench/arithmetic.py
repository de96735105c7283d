"""How much of a processor's arithmetic a training step uses: its useful operations a second beside a matrix product's.

Useful are the multiplications and additions of the convolutions, as their definition has them: forward, for the
gradient of their weights, and for that of their input, which the first has no use for. Norms, losses, assignment and
optimizer count nothing and take time, so the fraction says what all of a step comes to. A way to convolve with fewer
operations counts as many, and takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from rich.table import Table

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors import TinyNetwork
from mapopt.detectors.dense.compiled import Layers
from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.cost import clock
from mapopt.experiments.bench.round import cost_of
from mapopt.training.engine import LaneEngine
from mapopt.training.task import Task

_SIDE, _PRODUCTS = 512, 6
"""Of the square matrices whose product is timed beside the steps, and how often before and after them."""

_STEPS = 2
"""Training steps between the products: a machine that others use changes its pace within a second."""


@dataclass(frozen=True, kw_only=True)
class StepArithmetic:
    """What a training step of some lanes computes, and how fast; medians of turns beside a matrix product."""

    lanes: int
    operations: int
    """Useful ones in the step of a lane."""
    seconds: float
    """Of a lane's step: network, losses and optimizer, forward and backward."""
    product: float
    """Operations a second of a product of square float32 matrices."""
    fraction: float
    """Useful operations a second, beside the product's of the same turn."""


def measure_arithmetic(lanes: int, repeats: int, device: torch.device, seed: int = 0) -> StepArithmetic:
    """Times steps of the default detector at 48 pixels, and products of matrices before and after them.

    Args:
        lanes: trained at once; at least 2 on a processor, as fleets see to.
        repeats: turns; ten times as many are taken, because each is short.
        device: where.
        seed: of the scenes and the lanes.
    """
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, val=1, test=1)
    fleet = LaneEngine([Task(name="bench", splits=splits)] * lanes, list(range(seed, seed + lanes)), device=device)
    batch = fleet.recipe.batch_size
    operations = useful_operations(TinyNetwork(fleet.classes).layers, fleet.size, batch)
    fleet.train(2 * batch)
    seconds, products, fractions = [], [], []
    for _ in range(10 * repeats):
        before = product_rate(device)
        cost = cost_of(lambda: fleet.train(_STEPS * batch), 1, device)
        products.append((before + product_rate(device)) / 2)
        seconds.append((cost.forward + cost.losses + cost.backward + cost.optimizer) / (_STEPS * lanes))
        fractions.append(operations / seconds[-1] / products[-1])
    return StepArithmetic(
        lanes=lanes,
        operations=operations,
        seconds=median(seconds),
        product=median(products),
        fraction=median(fractions),
    )


def useful_operations(layers: Layers, size: tuple[int, int], batch: int, channels: int = 3) -> int:
    """Counts the useful operations of a training step of one lane.

    Args:
        layers: of the network.
        size: height and width of the images in pixels.
        batch: images.
        channels: of an image.
    """
    height, width = (side // layers.patch for side in size)
    operations = 2 * 2 * layers.outputs * channels * layers.patch**2 * height * width
    for block in layers.blocks:
        height, width = ((side - 1) // block.stride + 1 for side in (height, width))
        operations += 3 * 2 * block.outputs * block.channels * block.kernel**2 * height * width
    return operations * batch


def product_rate(device: torch.device) -> float:
    """Returns the operations a second of a product of square float32 matrices, torch's own."""
    read = clock(device)
    first, second = (torch.ones((_SIDE, _SIDE), device=device) for _ in range(2))
    out = torch.mm(first, second)
    began = read()
    for _ in range(_PRODUCTS):
        torch.mm(first, second, out=out)
    return 2 * _SIDE**3 * _PRODUCTS / max(read() - began, 1e-9)


def arithmetic_table(rows: Sequence[StepArithmetic], *, title: str) -> Table:
    """Lays out how much of the arithmetic is used."""
    table = new_table(title)
    headings = ("lanes", "ms of a lane-step", "useful GFLOP", "GFLOP/s", "a product's GFLOP/s", "fraction")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.lanes),
            f"{1e3 * row.seconds:.2f}",
            f"{row.operations / 1e9:.3f}",
            f"{row.operations / row.seconds / 1e9:.1f}",
            f"{row.product / 1e9:.1f}",
            f"{row.fraction:.0%}",
        )
    table.caption = "network, losses and optimizer, forward and backward; medians of turns beside a matrix product"
    return table
