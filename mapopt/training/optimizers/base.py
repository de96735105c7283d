"""What every optimizer over rows offers, and the clipping of rows."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable


class RowOptimizer(Protocol):
    """Updates ``[lanes, n]`` weights from ``[lanes, n]`` gradients, each lane by itself.

    It is made as ``MyOptimizer(weights, decay, **settings)``: of the first weights, and of the mask ``[n]`` that is 1
    where weight decay applies. It may have an attribute ``knobs``, name -> `mapopt.training.Range`, with the numbers of
    its own that may change; the attribute of that name is what they start from. `mapopt.training.testing` has
    `check_optimizer`, the properties that all of them share.

    >>> class SignSGD:
    ...     def __init__(self, weights, decay):
    ...         self.state = {}
    ...
    ...     def update(self, weights, gradient, knobs, active):
    ...         step = torch.where(active[:, None], knobs["lr"][:, None] * gradient.sign(), 0.0)
    ...         weights -= step
    ...         return step.norm(dim=1)
    >>> from mapopt.training.testing import check_optimizer
    >>> check_optimizer(SignSGD)
    """

    state: dict[str, Tensor]
    """All that is remembered from step to step: tensors whose first dimension is the lane, made in the constructor."""

    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes in place and returns the length of each lane's step, ``[lanes]``.

        Args:
            weights: ``[lanes, n]``, to be changed in place.
            gradient: ``[lanes, n]``, clipped.
            knobs: each knob's name and its values ``[lanes]``, among them ``lr``, ``momentum`` and ``weight_decay``.
            active: bool ``[lanes]``; weights and state of the others stay as they are.
        """


def clip_rows(gradient: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Scales each row down to at most the norm `limit`; returns the rows and their norms before, ``[lanes]``."""
    norms = gradient.norm(dim=1)
    return gradient * (limit / norms.clamp(min=limit))[:, None], norms


def keep(old: Tensor, new: Tensor, active: Tensor) -> None:
    """Overwrites the rows of the active lanes."""
    old.copy_(torch.where(active[:, None], new, old))
