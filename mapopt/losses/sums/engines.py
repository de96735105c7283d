"""When compiled passes take over from torch's operations: on a processor, in a process that has seen many lists.

Loading them costs a process about a second, and compiling them several once on a machine. So torch does the work until
it has cost the process about as much, as `mapopt.metrics.engines` does for AP; where numba is loaded already, which is
most of it, they come sooner. Both give the same bits, so the change is never seen.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from mapopt import compiling

PATIENCE = 0.5
"""Seconds of torch's work in one process after which the compiled kernels are loaded."""

PATIENCE_BESIDE_NUMBA = 0.1
"""The same where numba was imported already, for images or for AP."""

_SECONDS_PER_CALL, _SECONDS_PER_SCORE = 1e-3, 3e-8  # of torch's operations; measured on one core


@dataclass
class _Choice:
    """What this process has learnt; it decides about speed only, never about a number."""

    spent: float = 0.0
    kernels: ModuleType | None = None


_choice = _Choice()


def kernels_for(scores: Tensor) -> ModuleType | None:
    """Returns `mapopt.losses.sums.kernels` where they are to sum over ``[lists, m]`` scores by now, else None."""
    if not _has_numbers(scores):
        return None
    if _choice.kernels is None and _choice.spent < (PATIENCE_BESIDE_NUMBA if "numba" in sys.modules else PATIENCE):
        _choice.spent += _SECONDS_PER_CALL + _SECONDS_PER_SCORE * scores.numel()
        return None
    return _choice.kernels if load_kernels() else None


def loaded_kernels(scores: Tensor) -> ModuleType | None:
    """Returns the same if they are loaded: for passes that alone would not be worth it."""
    return _choice.kernels if _has_numbers(scores) else None


def _has_numbers(values: Tensor) -> bool:
    """Says whether the numbers of a tensor lie where compiled passes read them: not in transforms of `torch.func`."""
    return values.device.type == "cpu" and not torch._C._functorch.is_functorch_wrapped_tensor(values)


def load_kernels() -> bool:
    """Loads the compiled kernels now; returns False where numba is missing or does not work."""
    if _choice.kernels is None:
        _choice.kernels = compiling.load_kernels("mapopt.losses.sums.kernels")
    return _choice.kernels is not None


@contextmanager
def without_kernels() -> Iterator[None]:
    """Leaves all work inside to torch's operations, as in a process that has just begun; for tests and benchmarks.

    What is loaded inside is used inside.
    """
    global _choice
    before, _choice = _choice, _Choice(spent=-math.inf)
    try:
        yield
    finally:
        _choice = before
