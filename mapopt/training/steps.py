"""How an interval is cut into steps: each lane's images per step, its number of steps, and its knobs at each of them.

An interval is counted in images, so a lane that trains on smaller batches takes more steps. Which image is the n-th
that a lane sees, and how it is augmented, do not depend on the cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
import torch

from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs
from mapopt.training.ramps import Via, knobs_at, points_of


def step_size(batch_size: int, fraction: float) -> int:
    """Returns on how many images a step trains.

    The fraction is first rounded, on its logarithmic scale, to 1/4, 1/2 or 1. Where that is no whole number of images,
    it is the divisor of the batch size that is nearest on the same scale, the larger of two: what divides the batch
    divides every interval, and how a run is cut into intervals changes nothing. So a batch of 16 has 4, 8 and 16, a
    batch of 6 has 2, 3 and 6, and a batch of 5 has 1, 5 and 5.

    Args:
        batch_size: of the recipe.
        fraction: the knob `batch_fraction`.

    >>> [step_size(16, fraction) for fraction in (0.25, 0.3, 0.4, 0.6, 0.8, 1.0)]
    [4, 4, 8, 8, 16, 16]
    """
    wanted = batch_size * 2.0 ** min(0, max(-2, round(math.log2(fraction))))
    divisors = [count for count in range(batch_size, 0, -1) if batch_size % count == 0]
    return min(divisors, key=lambda count: abs(math.log2(count / wanted)))


def check_shared(sizes: Sequence[int], batch_size: int, processes: int) -> None:
    """Raises ConfigError unless every process can have as many images of each step as the others.

    Args:
        sizes: images per step of each lane.
        batch_size: of the recipe.
        processes: how many share the steps.
    """
    for size in sizes:
        if size % processes == 0:
            continue
        given = f"batch_size is {batch_size}" + (f" and steps have {size} images" if size != batch_size else "")
        lower = size // processes * processes
        near = " or ".join(str(images) for images in (lower, lower + processes) if images)
        raise ConfigError(f"{given} with {processes} processes: expected a multiple of them, such as {near}")


class StepPlan:
    """The steps of an interval, per lane.

    Args:
        knobs: per lane, at the interval's end.
        ramp_from: per lane, the knobs from which to move to these, step by step; the batch does not move with them.
        via: per lane, where they pass on the way; see `mapopt.training.Decision`.
        images: of the interval, a multiple of the batch size.
        batch_size: of the recipe.
        device: where tables of knobs are needed.

    Attributes:
        sizes: images per step of each lane.
        steps: steps of each lane.
        by_ratio: whether the length of some step is set by `Knobs.step_ratio`.
    """

    def __init__(
        self,
        knobs: Sequence[Knobs],
        ramp_from: Sequence[Knobs | None],
        via: Sequence[Via] | None = None,
        *,
        images: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.sizes = [step_size(batch_size, own.batch_fraction) for own in knobs]
        self.steps = [images // size for size in self.sizes]
        self._constant = stack_knobs(knobs, device) if not any(ramp_from) else None
        self._device = device
        self._lanes = [
            _of_steps(start, bends, end, steps)
            for start, bends, end, steps in zip(ramp_from, via or [()] * len(knobs), knobs, self.steps, strict=True)
        ]

        self.by_ratio = any(knobs.step_ratio for lane in self._lanes for knobs in lane)

    def of(self, lanes: Sequence[int]) -> StepPlan:
        """Returns the steps of some lanes, one for each that is given."""
        part = copy(self)
        for name in ("sizes", "steps", "_lanes"):
            setattr(part, name, [getattr(self, name)[lane] for lane in lanes])
        if self._constant is not None:
            part._constant = {name: values[list(lanes)] for name, values in self._constant.items()}
        part.by_ratio = any(knobs.step_ratio for lane in part._lanes for knobs in lane)
        return part

    def at(self, step: int) -> KnobTable:
        """Returns the knobs of a step; a lane that is done keeps its last ones."""
        return self._constant or stack_knobs([lane[min(step, len(lane) - 1)] for lane in self._lanes], self._device)

    def per_image(self, name: str) -> list[np.ndarray]:
        """Returns per lane a knob's value for each image of the interval."""
        return [
            np.repeat([getattr(knobs, name) for knobs in lane], size)
            for lane, size in zip(self._lanes, self.sizes, strict=True)
        ]


def _of_steps(start: Knobs | None, via: Via, end: Knobs, steps: int) -> list[Knobs]:
    """Returns the knobs in the middle of every step."""
    if start is None:
        return [end] * steps
    points = points_of(start, via, end)
    return [knobs_at(points, (step + 0.5) / steps) for step in range(steps)]
