"""Where the time of a default round goes: data, the network forward and backward, the optimizer, the evaluation.

The pieces are timed inside one and the same round, each without those inside it, so they add up to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any
from unittest.mock import patch

import torch
from rich.table import Table

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.dense.detector import DenseDetector
from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.cost import clock
from mapopt.training import batches, engine, packing
from mapopt.training.engine import LaneEngine
from mapopt.training.optimizers.registry import OPTIMIZERS
from mapopt.training.task import Task

STEPS, VAL_IMAGES = 40, 128
"""Training steps and evaluated images of a default round."""


@dataclass(frozen=True, kw_only=True)
class RoundCost:
    """Seconds of a default round of all lanes: 40 steps of 16 images, then 128 val images."""

    data: float
    """Of the training: taking images and augmenting them."""
    forward: float
    """Of the training: the network."""
    losses: float
    """Of the training: the assignment and the losses."""
    backward: float
    """Of losses and network."""
    optimizer: float
    """Clipping and the step."""
    network: float
    """Of the evaluation: the network."""
    suppression: float
    """Of the evaluation: decoding, the strongest boxes, and non-maximum suppression, on the device."""
    transfer: float
    """Of the evaluation: the surviving boxes to the host, and to the lanes they belong to."""
    average_precision: float
    """Of the evaluation: AP of every lane, in one call."""
    rest: float
    """What is between the pieces: knobs, logs, and, of an environment, decisions, observations and rewards."""

    @property
    def total(self) -> float:
        """The whole round."""
        return sum(getattr(self, piece.name) for piece in fields(self))

    @property
    def evaluation_fraction(self) -> float:
        """Of the round: the whole evaluation, its network included."""
        return (self.network + self.suppression + self.transfer + self.average_precision) / self.total

    @property
    def beside_fraction(self) -> float:
        """Of the round: everything that is not the network, be it of the evaluation, losses, backward or optimizer."""
        network = self.forward + self.losses + self.backward + self.optimizer + self.network
        return 1 - network / self.total


def measure_round(lanes: int, repeats: int, device: torch.device, seed: int = 0) -> RoundCost:
    """Times rounds of the default detector at 48 pixels.

    Args:
        lanes: trained at once; at least 2 on a processor, as fleets see to.
        repeats: how often a round is played.
        device: where.
        seed: of the scenes and the lanes.
    """
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, val=VAL_IMAGES, test=1)
    fleet = LaneEngine([Task(name="bench", splits=splits)] * lanes, list(range(seed, seed + lanes)), device=device)
    fleet.train(2 * fleet.recipe.batch_size)

    def play() -> None:
        fleet.train(STEPS * fleet.recipe.batch_size)
        fleet.score("val")

    fleet.score("val")
    return cost_of(play, repeats, device)


def cost_of(play: Callable[[], object], repeats: int, device: torch.device) -> RoundCost:
    """Times what a function plays, in pieces; every piece is the fastest of the repeats.

    Args:
        play: plays a round of the tiny detector.
        repeats: how often.
        device: where it plays.
    """
    rows = []
    for _ in range(repeats):
        with _watched(device) as seconds:
            play()
        rows.append(seconds)
    return RoundCost(**{piece.name: min(row[piece.name] for row in rows) for piece in fields(RoundCost)})


def round_table(names: Sequence[str], costs: Sequence[RoundCost], *, title: str, first: str = "lanes") -> Table:
    """Lays the costs out, in milliseconds and fractions of the round.

    Args:
        names: what the rows are called.
        costs: the rows.
        title: above them.
        first: heading of the names.
    """
    table = new_table(title)
    headings = [piece.name.replace("_", " ") for piece in fields(RoundCost)]
    for heading in (first, *headings, "evaluation", "beside", "AP alone"):
        table.add_column(heading, justify="right")
    for name, cost in zip(names, costs, strict=True):
        table.add_row(
            name,
            *(f"{1e3 * getattr(cost, piece.name):.0f}" for piece in fields(RoundCost)),
            f"{cost.evaluation_fraction:.1%}",
            f"{cost.beside_fraction:.1%}",
            f"{cost.average_precision / cost.total:.1%}",
        )
    table.caption = (
        "milliseconds of all lanes; evaluation is all from network to average precision, beside is everything but "
        "forward, losses, backward, optimizer and network"
    )
    return table


@contextmanager
def _watched(device: torch.device) -> Iterator[dict[str, float]]:
    """Measures the pieces of whatever the tiny detector's engine does in the block, and the block's rest."""
    watch = _Watch(device)
    pieces: tuple[tuple[Any, str, str], ...] = (
        (engine, "make_plan", "data"),
        (batches, "make_batch", "data"),
        (DenseDetector, "losses", "losses"),
        (torch.Tensor, "backward", "backward"),
        (packing, "clip_rows", "optimizer"),
        *((OPTIMIZERS.find(name), "update", "optimizer") for name in OPTIMIZERS),
        (LaneEngine, "detect", "transfer"),
        (DenseDetector, "detect", "suppression"),
        (DenseDetector, "outputs", "network"),
        (engine, "evaluate_detections", "average_precision"),
    )
    with ExitStack() as patches:
        for owner, name, piece in pieces:
            patches.enter_context(patch.object(owner, name, watch.around(getattr(owner, name), piece)))
        watch.enter("rest")
        yield watch.seconds
        watch.leave()


class _Watch:
    """Adds up the seconds of pieces; what is inside another one interrupts it."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._now = clock(device)
        self._open: list[str] = []
        self._since = 0.0

    def around(self, function: Callable[..., Any], piece: str) -> Callable[..., Any]:
        """Returns the function with its time going to a piece."""

        def timed(*arguments: Any, **settings: Any) -> Any:
            # The network inside the losses is the training's.
            self.enter("forward" if piece == "network" and "losses" in self._open else piece)
            try:
                return function(*arguments, **settings)
            finally:
                self.leave()

        return timed

    def enter(self, piece: str) -> None:
        """Begins a piece."""
        self._book()
        self._open.append(piece)

    def leave(self) -> None:
        """Ends the piece that began last."""
        self._book()
        self._open.pop()

    def _book(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
