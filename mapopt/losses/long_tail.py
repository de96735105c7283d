"""Focal loss's relatives for long tails: what an entry costs depends on how rare its class is, or on how it is doing.

The first knows the classes' frequencies and follows from them in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses.pointwise import PointwiseLoss, signed, surprise
from mapopt.losses.sums.lists import Lists


class EffectiveClassMarginLoss(PointwiseLoss):
    """Effective class-margin loss (ECM): cross-entropy of the logit 2 s - log(r) / 4, times r log(1 + 1 / r).

    r is how many negatives there are for every positive of the entry's class: with f the fraction of all objects that
    are of it, r = (1 + background) / f - 1. So a rare class has to be separated from the rest by a wider margin. The
    margins are those of training; a detector reports the sigmoid of s. Per positive. Component: ``rank``.

    f is the fact ``"frequencies"``, in (0, 1]. Where it is not given, it is 1: there is one class.

    Args:
        background: how many samples are background for every object; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Cho, Kraehenbuehl, "Long-tail Detection with Effective Class-Margins", ECCV 2022, with the ratio of background
        of the authors' code, which is Mask R-CNN's. Differs: no class of its own for the background, and no normalized
        last layer; per positive, not per sampled proposal.

    Example:
        >>> frequencies = torch.tensor([0.9, 0.1])[:, None]  # [classes, 1]: a list per class
        >>> loss = EffectiveClassMarginLoss()
        >>> lists = loss.lists(torch.zeros(2, 2), torch.tensor([[1.0, 0.0]] * 2), facts={"frequencies": frequencies})
        >>> lists["rank"]
        tensor([1.3535, 1.6486])
    """

    reads = ("frequencies",)

    def __init__(self, background: float | Tensor = 6.3313, *, weight: float | Tensor = 1.0) -> None:
        super().__init__(weight=weight)
        self.background = background

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        frequencies = lists.facts.get("frequencies", torch.ones_like(lists.scores)).to(lists.scores.dtype)
        ratio = (1.0 + self.per_list("background", lists, above=0.0)) / frequencies - 1.0
        margin = signed(lists, 2.0 * lists.scores - ratio.log() / 4.0)
        return ratio * (1.0 / ratio).log1p() * surprise(margin)
