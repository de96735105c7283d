"""When the compiled passes over the scores pay: on a processor, for long lists, in a process that has seen many.

Loading them costs a process a second, and compiling them several once on a machine. So torch does the work until it
has cost the process about as much, as `mapopt.metrics.engines` does for AP. Both give the same bits, so the change is
never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from mapopt import compiling

PATIENCE = 0.5
"""Seconds of torch's work in one process after which the compiled kernels are loaded."""

LONG = 8192
"""Scores from which compiled passes pay; below, both take a fraction of a millisecond."""

_SECONDS_PER_SCORE = 3e-8  # of torch's passes, measured on one core at 1e5 scores


@dataclass
class _Choice:
    """What this process has learnt; it decides about speed only, never about a number."""

    spent: float = 0.0
    kernels: ModuleType | None = None


_choice = _Choice()


def kernels_for(scores: Tensor) -> ModuleType | None:
    """Returns `mapopt.losses.sums.kernels` where they work best for ``[lists, m]`` scores by now, else None."""
    if scores.device.type != "cpu" or scores.numel() < LONG:
        return None
    if _choice.kernels is None and _choice.spent < PATIENCE:
        _choice.spent += _SECONDS_PER_SCORE * scores.numel()
        return None
    return _choice.kernels if load_kernels() else None


def load_kernels() -> bool:
    """Loads the compiled kernels now; returns False where numba is missing or does not work."""
    if _choice.kernels is None:
        _choice.kernels = compiling.load_kernels("mapopt.losses.sums.kernels")
    return _choice.kernels is not None
