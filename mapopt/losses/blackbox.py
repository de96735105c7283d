"""Blackbox AP: the metric itself, with ranks differentiated by ranking slightly changed scores once more.

Ranking is the solution of a linear program, and the difference between its solutions before and after a step against
the loss is a gradient of an interpolation of it. Nothing is sampled: the same scores give the same gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists, middle_ranks


class BlackboxAPLoss(ListLoss):
    """Blackbox AP: 1 - mean over positives of (rank among positives) / (rank among all), with hard ranks.

    Where the loss of a list depends on ranks r(s) with derivative g, the gradient is (r(s + strength g) - r(s)) /
    strength; a weight on the loss scales it. Component: ``rank``. Time O(n log n).

    Args:
        strength: of the interpolation, called lambda in the paper: small follows the steps of the ranks, large smooths
            over many. The step it takes shrinks with the list: where few positives stand deep among many negatives,
            the default changes no rank and gives no gradient. A number or a tensor over the leading dimensions.
        margin: positives count as lower, and negatives as higher, by half of this, in logits; without it the gradient
            ends as soon as the order is right, and with one larger than all differences there is none. A number or a
            tensor over the leading dimensions.

    Reference:
        Rolinek, Musil, Paulus, Vlastelica, Michaelis, Martius, "Optimizing Rank-based Metrics with Blackbox
        Differentiation", CVPR 2020. Differs: the margin's default is for logits (the paper's 0.02 is for cosine
        similarities), ties share the mean of their ranks, and a list without negatives, where nothing can be gained,
        has no gradient.
    """

    def __init__(self, strength: float | Tensor = 4.0, margin: float | Tensor = 0.05) -> None:
        super().__init__()
        self.strength = strength
        self.margin = margin

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        strength = self.per_list("strength", lists, above=0.0)
        margin = self.per_list("margin", lists)
        return {"rank": _BlackboxAP.apply(lists.scores, lists, strength, margin)}


class _BlackboxAP(torch.autograd.Function):
    """The loss of the hard ranks, and the difference that a step against it makes to them."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lists: Lists, strength: float | Tensor, margin: float | Tensor) -> Tensor:
        table, present = lists.table, lists.table.present
        shift = lists.negative.to(present.dtype) - lists.positive.to(present.dtype)
        shifted = lists.exact_scores + 0.5 * margin * shift
        shifted = shifted.masked_fill(~(lists.positive | lists.negative), -torch.inf)
        positives = table.thresholds.masked_fill(present == 0, -torch.inf)
        ranks, own = middle_ranks(shifted), middle_ranks(positives)
        among_all = table.take(ranks) + (1.0 - present)

        # Where the loss would send the ranks, the scores go a step; the ranks they reach are the other end.
        by_rank = table.put(torch.zeros_like(shifted), own / among_all**2 / table.count * present)
        by_own = -present / among_all / table.count
        gradient = (middle_ranks(shifted + strength * by_rank) - ranks) / strength * shifted.isfinite()
        own_gradient = (middle_ranks(positives + strength * by_own) - own) / strength * present
        contested = lists.negative.sum(-1, keepdim=True) > 0  # the two ranks are one without negatives, and AP is 1
        ctx.save_for_backward((table.put(gradient, own_gradient) * contested).to(scores.dtype))
        return table.mean(1.0 - own / among_all)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None].to(gradient.dtype), None, None, None
