"""Scales of the loss in float16, whose smallest numbers would swallow gradients: one for each lane, found as it trains.

The loss is multiplied before the backward pass and its gradient divided after it. Where a gradient does not fit into
float16 the step is left out and the scale halved; after many steps that fit it is doubled. So the scale stays about as
large as it can be, whatever the loss and however far the training is.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, SMALLEST = 2.0**16, 1.0
GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000


class LossScales:
    """The scales of some lanes.

    Args:
        lanes: how many.
        device: where they train.

    Attributes:
        factor: float32 ``[lanes]``.
        fitted: int32 ``[lanes]`` steps in a row whose gradient did fit.

    Reference: P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2; the numbers are those of
        torch.amp.GradScaler. We differ in the end: a gradient that does not fit at a scale of 1 is none that a smaller
        scale would mend, and the lane has diverged.
    """

    def __init__(self, lanes: int, device: torch.device) -> None:
        self.factor = torch.full((lanes,), FIRST, device=device)
        self.fitted = torch.zeros(lanes, dtype=torch.int32, device=device)

    def places(self, lane: int) -> dict[str, Tensor]:
        """Returns the tensors that a lane's state is in, by name."""
        return {"loss_scale.factor": self.factor[lane], "loss_scale.fitted": self.fitted[lane]}

    def renew(self, lane: int) -> None:
        """Begins a lane anew."""
        self.factor[lane], self.fitted[lane] = FIRST, 0

    @torch.no_grad()
    def unscale(self, gradient: Tensor) -> Tensor:
        """Divides gradients ``[lanes, n]`` by the scales, in place; all are powers of 2, so no bit is lost."""
        return gradient.div_(self.factor[:, None])

    @torch.no_grad()
    def follow(self, norms: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        """Says what comes of a step, and moves the scales of the lanes that run.

        Args:
            norms: lengths of the gradients ``[lanes]``.
            running: bool ``[lanes]``; the scales of the others stay.

        Returns:
            bool ``[lanes]``: which go on running, and which of them take the step.
        """
        fits = torch.isfinite(norms)
        running = running & (fits | (self.factor > SMALLEST))
        fitted = torch.where(fits, self.fitted + 1, 0)
        grows = fitted >= INTERVAL
        moved = torch.where(fits, torch.where(grows, GROWTH, 1.0), BACKOFF) * self.factor
        # As torch's, it stays where it would no longer be a number.
        moved = torch.where(torch.isfinite(moved), moved, self.factor).clamp(min=SMALLEST)
        self.factor.copy_(torch.where(running, moved, self.factor))
        self.fitted.copy_(torch.where(running, torch.where(grows, 0, fitted), self.fitted))
        return running, running & fits
