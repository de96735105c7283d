"""Whether a loss sends any gradient to the scores: one that sends none trains nothing, and does so without a word.

It is easily written: a comparison, a rounding, a ``.detach()``, ``.item()`` or numpy on the way is enough.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.callables import CallableLoss

CAUSES = "a comparison, rounding, .detach(), .item() or numpy on the way from the scores to the value keeps it"
"""Why a loss has no gradient, as messages say it."""


def silent_value(loss: ListLoss, *, seed: int = 0) -> float:
    """Returns the largest value that a loss gives to small random lists, if it sends a gradient on none of them; or 0.

    A value of 0 asks for no gradient, and says nothing.

    >>> silent_value(CallableLoss(lambda scores, labels, where: (scores > scores.max()).float().mean() + 2))
    2.0
    >>> silent_value(CallableLoss(lambda scores, labels, where: (1 - scores[labels > 0]).mean()))
    0.0
    """
    largest = 0.0
    generator = torch.Generator().manual_seed(seed)
    for size in (12, 50, 200):
        scores = (2 * torch.randn((3, size), generator=generator)).requires_grad_()
        labels = (torch.rand((3, size), generator=generator) < 0.2).float()
        labels[:, 0] = 1.0
        if loss.soft_labels:
            labels = labels * (0.1 + 0.9 * torch.rand((3, size), generator=generator))
        value = sum(loss.lists(scores, labels).values(), torch.zeros(()))
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.sum(), scores, allow_unused=True)
            if gradient is not None and gradient.any():
                return 0.0
        largest = max(largest, value.detach().abs().max().item())
    return largest


def check_own_loss(loss: ListLoss) -> None:
    """Checks that a loss that is not one of ours sends a gradient; a copy of it is tried, before anything is trained.

    Raises:
        ConfigError: it sends none.
    """
    if type(loss).__module__.startswith("mapopt.losses.") and not isinstance(loss, CallableLoss):
        return
    try:
        with torch.enable_grad():
            value = silent_value(copy.deepcopy(loss))
    except Exception:
        return  # what it needs it may only have while it trains: what is wrong there is said there
    if value:
        name: Any = getattr(loss, "name", type(loss).__name__)
        raise ConfigError(
            f"loss '{name}' sends no gradient to the scores (its value on random lists is {value:.3g}): {CAUSES} "
            "away; `mapopt.losses.check_loss` tests it"
        )
