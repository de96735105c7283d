"""Arithmetic on rows of numbers in place: no fresh tensors, in pieces that stay in the processor's cache.

A large detector's row is longer than any cache, and a fresh tensor of its length costs more than what is computed into
it. So rows are cut into pieces, everything that an update does to a piece is done before the next one, and all that a
step needs beside is one piece of scratch. What is computed is the same number by number, so bits do not depend on how
rows are cut, nor on how many lanes there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mapopt.compiling import load_kernels
from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError

PIECE = 2**17
"""Numbers of a piece, of all lanes: of 2 ** 16 to 2 ** 20 the fastest for 16 lanes of 36 thousand numbers, and within a
tenth of it for one lane of 12 million."""


LONG = 2**20
"""Numbers of a row from which a step's length is added up on the way, and the step itself is not kept: writing and
reading it once more is a tenth of an update. Steps of SGD and AdamW are then compiled, see `step_of_long_row`. No lane
of the tiny detector is as long, so their bits stay."""


_KERNELS = "mapopt.training.optimizers.step_kernels"


class InPlaceRows:
    """What our optimizers share: which lanes move, in place, and how far they went.

    An optimizer of ours inherits from this class and writes `advance`.

    Args:
        weights: ``[lanes, n]``, of which nothing but the shape is kept.
        decay: ``[n]``, 1 where weight decay applies and 0 elsewhere.
    """

    lane_by_lane = False
    """Whether `advance` adds up over rows: then it is called for one lane at a time, so that a lane's rows are cut, and
    added up, in the same way whatever the number of lanes."""

    in_pieces = False
    """Whether `advance` hands the step to `pieces` and does nothing else with it, so that it need not be kept."""

    state: dict[str, Tensor]

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        self.decay = decay.expand(weights.shape)
        """``[lanes, n]``, a view."""
        self._step: Tensor | None = None
        self.state = {}

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes: changes their weights and their state in place.

        Args:
            rows: which lanes.
            weights: ``[lanes, n]``.
            gradient: ``[lanes, n]``, to be left as it is.
            knobs: values ``[lanes]``.
            step: ``[lanes, n]``, whose rows get what was subtracted from the weights; of optimizers that work
                `in_pieces` also something that `pieces` measures.
        """
        raise NotImplementedError

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes; see `RowOptimizer.update`."""
        if self.in_pieces and len(weights) == 1 and weights.shape[1] >= LONG and not waits(weights):
            lengths = StepLength()
            for rows in runs_of(active.tolist()):
                self.advance(rows, weights, gradient, knobs, lengths)  # type: ignore[arg-type] # see in_pieces
            return torch.where(active, lengths.total.sqrt().to(weights.dtype), 0.0)
        if self._step is None or self._step.shape != weights.shape:
            # Kept, because a fresh one would be mapped and cleared at every step.
            self._step = torch.zeros_like(weights, requires_grad=False)
        with only_active([weights, *self.state.values()], active) as runs:
            for rows in _single(runs) if self.lane_by_lane and not waits(weights) else runs:
                self.advance(rows, weights, gradient, knobs, self._step)
        return torch.where(active, self._step.norm(dim=1), 0.0)


class StepLength:
    """Stands in for the step of a single lane: `pieces` gives scratch in its place, and adds up the squares of it."""

    def __init__(self) -> None:
        self.total = torch.zeros((), dtype=torch.float64)

    def add(self, moved: Tensor) -> None:
        """Adds a piece of the step."""
        self.total += moved.norm().double() ** 2


Step = Tensor | StepLength
"""Where an update writes what it subtracts from the weights."""


@contextmanager
def only_active(changed: Sequence[Tensor], active: Tensor) -> Iterator[list[slice]]:
    """Says which rows to change; on an accelerator all, and those of lanes that are not active are put back afterwards.

    There, asking which are active would wait for the device, and a copy costs little.

    Args:
        changed: tensors whose first dimension is the lane.
        active: bool ``[lanes]``.
    """
    if not waits(active):
        yield runs_of(active.tolist())
        return
    before = [tensor.clone() for tensor in changed]
    yield [slice(0, len(active))]
    for tensor, old in zip(changed, before, strict=True):
        torch.where(active.view(-1, *[1] * (tensor.dim() - 1)), tensor, old, out=tensor)


def waits(tensor: Tensor) -> bool:
    """Returns whether reading a tensor's numbers would wait for an accelerator, where a whole matrix is one piece."""
    return tensor.device.type != "cpu"


def runs_of(active: list[bool]) -> list[slice]:
    """Returns the runs of neighbouring active lanes.

    >>> runs_of([True, True, False, True])
    [slice(0, 2, None), slice(3, 4, None)]
    """
    edges = [place for place, (before, now) in enumerate(pairwise([False, *active, False])) if before != now]
    return [slice(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _single(runs: list[slice]) -> list[slice]:
    return [slice(lane, lane + 1) for run in runs for lane in range(run.start, run.stop)]


def pieces(rows: slice, *matrices: Step, spare: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Yields the same columns of several matrices ``[lanes, n]``, and scratch of that shape.

    Args:
        rows: of these lanes.
        matrices: what is read and changed; the last may be a `StepLength`.
        spare: how many tensors of scratch, whose content is undefined, stand behind them.
    """
    first, last = matrices[0], matrices[-1]
    assert isinstance(first, Tensor)
    lanes, columns = len(first[rows]), first.shape[1]
    width = columns if waits(first) else max(1, min(columns, PIECE // lanes))
    measured = last if isinstance(last, StepLength) else None
    kept = [matrix for matrix in matrices if isinstance(matrix, Tensor)]
    empty = [torch.empty((lanes, width), dtype=first.dtype, device=first.device) for _ in range(spare + bool(measured))]
    for parts in zip(*(matrix[rows].split(width, dim=1) for matrix in kept), strict=True):
        scratch = [tensor[:, : parts[0].shape[1]] for tensor in empty]
        yield (*parts, *scratch)
        if measured is not None:
            measured.add(scratch[0])


def step_of_long_row(name: str, rows: slice, matrices: Sequence[Step], numbers: Sequence[Tensor | float]) -> bool:
    """Takes a step by a compiled function, where it is of a long row, see `LONG`; returns whether it did.

    The numbers are those of torch within rounding, which fuses some products with sums.

    Args:
        name: of the function in `mapopt.training.optimizers.step_kernels`.
        rows: of this lane.
        matrices: what is read and changed, float32 ``[1, n]``; the last is the step to be written.
        numbers: of this lane.
    """
    step = matrices[-1]
    kernels = load_kernels(_KERNELS) if isinstance(step, StepLength) else None
    if kernels is None or not isinstance(step, StepLength):
        return False
    arrays = [matrix[rows].detach()[0].numpy() for matrix in matrices if isinstance(matrix, Tensor)]
    scratch = np.empty(kernels.BLOCK, dtype=np.float32)
    values = np.array([float(number) for number in numbers], dtype=np.float32)
    step.total += getattr(kernels, name)(*arrays, scratch, values)
    return True


def zeros(weights: Tensor) -> Tensor:
    """Returns state like the weights."""
    return torch.zeros_like(weights, requires_grad=False)


def column(weights: Tensor, value: float) -> Tensor:
    """Returns state of a number for every lane, float64 ``[lanes, 1]``."""
    return torch.full((len(weights), 1), value, device=weights.device, dtype=torch.float64)


def check_between(
    optimizer: str, name: str, value: float, low: float, below: float = math.inf, *, open_low: bool = False
) -> None:
    """Raises ConfigError unless a setting is a number from `low`, or above it, to below another."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (low < value if open_low else low <= value) and (value < below or value == below == math.inf):
        return
    bounds = f"above {low:g}" if open_low else f"of at least {low:g}"
    bounds += f" and below {below:g}" if below < math.inf else ""
    raise ConfigError(f"optimizer '{optimizer}' has {name} {value}: expected a number {bounds}")
