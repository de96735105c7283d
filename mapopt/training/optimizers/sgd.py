"""SGD with momentum over rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.base import keep


class RowSGD:
    """SGD with momentum; weight decay is added to the gradient, as in `torch.optim.SGD`."""

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        self._decay = decay
        self.state = {"velocity": torch.zeros_like(weights, requires_grad=False)}

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes; see `RowOptimizer.update`."""
        lr, momentum, decay = (knobs[name][:, None] for name in ("lr", "momentum", "weight_decay"))
        velocity = self.state["velocity"]
        fresh = velocity * momentum + torch.addcmul(gradient, weights, decay * self._decay)
        keep(velocity, fresh, active)
        step = torch.where(active[:, None], lr * fresh, 0.0)
        weights -= step
        return step.norm(dim=1)
