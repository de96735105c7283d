"""Where the time of a default round goes: the training steps, and the evaluation piece by piece.

The pieces are timed inside one and the same evaluation, so they add up to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.dense import DenseDetector
from mapopt.training.engine import LaneEngine
from mapopt.training.task import Task

STEPS = 40
"""Training steps of a default round."""


@dataclass(frozen=True)
class RoundCost:
    """Seconds of a default round of all lanes: 40 steps of 16 images, then 128 tune images."""

    lanes: int
    training: float
    forward: float
    """Of the evaluation: the network."""
    suppression: float
    """Of the evaluation: decoding, the strongest boxes, and non-maximum suppression, on the device."""
    transfer: float
    """Of the evaluation: the surviving boxes to the host, and to the lanes they belong to."""
    average_precision: float
    """Of the evaluation: AP of every lane, in one call."""

    @property
    def evaluation(self) -> float:
        """The whole evaluation."""
        return self.forward + self.suppression + self.transfer + self.average_precision

    @property
    def evaluation_share(self) -> float:
        """Of the round."""
        return self.evaluation / (self.training + self.evaluation)


def measure_round(lanes: int, repeats: int, device: torch.device, seed: int = 0) -> RoundCost:
    """Times rounds of the default detector at 48 pixels; every piece is the fastest of the repeats.

    Args:
        lanes: trained at once; at least 2 on a processor, as fleets see to.
        repeats: how often a round is played.
        device: where.
        seed: of the scenes and the lanes.
    """
    splits = make_shapes_splits(ShapesConfig(), seed=seed, train=256, tune=128, test=1)
    engine = LaneEngine([Task(name="bench", splits=splits)] * lanes, list(range(seed, seed + lanes)), device=device)
    detector = engine.detector
    assert isinstance(detector, DenseDetector)
    outputs, detect, found = (_Stopwatch(one, device) for one in (detector.outputs, detector.detect, engine.detect))
    whole, training = _Stopwatch(engine.evaluate, device), _Stopwatch(engine.train, device)
    training(2 * engine.recipe.batch_size)
    # From here on each calls the others through their watches.
    detector.outputs, detector.detect, engine.detect = outputs, detect, found  # type: ignore[method-assign]
    whole("tune")
    best: list[float] = []
    for _ in range(repeats):
        for watch in (outputs, detect, found, whole, training):
            watch.seconds = 0.0
        whole("tune")
        pieces = [
            outputs.seconds,
            detect.seconds - outputs.seconds,
            found.seconds - detect.seconds,
            whole.seconds - found.seconds,
        ]
        del detector.outputs  # training is not to be watched piece by piece
        training(STEPS * engine.recipe.batch_size)
        detector.outputs = outputs  # type: ignore[method-assign]
        row = [training.seconds, *pieces]
        best = [min(pair) for pair in zip(best, row, strict=True)] if best else row
    return RoundCost(lanes, *best)


def round_table(costs: list[RoundCost], *, title: str) -> Table:
    """Lays the costs out, in milliseconds and shares of the round."""
    table = Table(title=title)
    for heading in ("lanes", "training", "forward", "NMS", "transfer", "AP", "evaluation", "AP alone"):
        table.add_column(heading, justify="right")
    for cost in costs:
        pieces = (cost.training, cost.forward, cost.suppression, cost.transfer, cost.average_precision)
        table.add_row(
            str(cost.lanes),
            *(f"{1e3 * piece:.0f} ms" for piece in pieces),
            f"{cost.evaluation_share:.1%}",
            f"{cost.average_precision / (cost.training + cost.evaluation):.1%}",
        )
    return table


class _Stopwatch:
    """Calls a function and adds up the seconds it takes."""

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self.seconds = 0.0
        self._function, self._device = function, device

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        began = self._now()
        try:
            return self._function(*arguments, **settings)
        finally:
            self.seconds += self._now() - began

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()  # a busy neighbour does not count
