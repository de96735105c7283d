"""What every optimizer over rows offers, and the clipping of rows."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable


class RowOptimizer(Protocol):
    """Updates ``[lanes, n]`` weights from ``[lanes, n]`` gradients."""

    state: dict[str, Tensor]
    """Tensors whose first dimension is the lane."""

    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes in place and returns the length of each lane's step, ``[lanes]``."""


def clip_rows(gradient: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Scales each row down to at most the norm `limit`; returns the rows and their norms before, ``[lanes]``."""
    norms = gradient.norm(dim=1)
    return gradient * (limit / norms.clamp(min=limit))[:, None], norms


def keep(old: Tensor, new: Tensor, active: Tensor) -> None:
    """Overwrites the rows of the active lanes."""
    old.copy_(torch.where(active[:, None], new, old))
