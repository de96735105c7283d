"""What every optimizer over rows offers, and what else a step does to rows: clipping and averaging."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import only_active, pieces, waits


class RowOptimizer(Protocol):
    """Updates ``[lanes, n]`` weights from ``[lanes, n]`` gradients, each lane by itself.

    It is made as ``MyOptimizer(weights, decay, **settings)``: of the first weights, and of the mask ``[n]`` that is 1
    where weight decay applies. It may have

    - an argument ``parts`` of its constructor, which is then name -> shape of what a row is cut into, in order;
    - a method ``evaluated(weights) -> Tensor``, where what is evaluated, and kept for detection, are not the weights
      that it trains: it returns those ``[lanes, n]``, and is asked after an update. A recipe has no ``ema`` beside it;
    - with such a method another, ``follow(weights, offset, knobs)``, without which the knob `step_ratio` stays at 0;
      see `mapopt.training.optimizers.step_ratio.RatioSteps`;
    - attributes ``default_lr`` and ``default_weight_decay``, the rates where none are given;
    - an attribute ``knobs``, name -> `mapopt.training.Range`, with the numbers of its own that may change; the
      attribute of that name is what they start from.

    `mapopt.training.testing` has `check_optimizer`, the properties that all of them share.

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


@torch.no_grad()
def clip_rows(gradient: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Scales each row down to at most the norm `limit`, in place; returns the rows and their norms before, ``[lanes]``.

    On the CPU nothing is written where no row is longer.
    """
    norms = gradient.norm(dim=1)
    if waits(gradient) or not all(norm <= limit for norm in norms.tolist()):
        gradient.mul_((limit / norms.clamp(min=limit))[:, None])
    return gradient, norms


@torch.no_grad()
def follow_rows(average: Tensor, weights: Tensor, decay: Tensor, active: Tensor) -> None:
    """Moves running averages towards the weights of the active lanes: ``decay * average + (1 - decay) * weights``.

    Args:
        average: ``[lanes, n]``, to be changed in place.
        weights: ``[lanes, n]``.
        decay: ``[lanes]``.
        active: bool ``[lanes]``.
    """
    with only_active([average], active) as runs:
        for rows in runs:
            kept = decay[rows, None]
            for mean, weight, spare in pieces(rows, average, weights, spare=1):
                mean.mul_(kept).add_(torch.mul(weight, 1 - kept, out=spare))
