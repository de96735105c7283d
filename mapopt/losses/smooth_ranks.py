"""Metrics whose ranks were made smooth by sigmoids: Smooth-AP and ApproxNDCG.

A rank is a count of steps, and each step becomes a sigmoid. No bins can sum sigmoids exactly, so these losses make all
pairs of a positive and a score, block by block.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.evenly import evenly
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.pairs import Curve, pair_sums, sigmoid_curve


class SmoothAPLoss(ListLoss):
    """Smooth-AP: 1 - mean over positives i of (1 + a_i) / (1 + a_i + b_i).

    a_i and b_i are sums of sigmoid((p_j - p_i) / temperature) over the other positives and the negatives, where p are
    the scores after a sigmoid. Component: ``rank``. The gradient is exact; time grows with P x N.

    Args:
        temperature: width of the step, in units of p; a number or a tensor over the leading dimensions.
        sigmoid: squash the scores first. False where they are bounded already, such as cosine similarities.

    Reference:
        Brown, Xie, Kalogeiton, Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval",
        ECCV 2020. Differs: logits are squashed, ignored entries take part in nothing.
    """

    saturates = True

    def __init__(self, temperature: float | Tensor = 0.01, *, sigmoid: bool = True) -> None:
        super().__init__()
        self.temperature = temperature
        self.sigmoid = sigmoid

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        curve = _curve(self.per_list("temperature", lists, above=0.0), lists)
        scores = evenly(torch.sigmoid, lists.scores) if self.sigmoid else lists.scores
        thresholds = table.take(scores)
        positives = pair_sums(thresholds.masked_fill(table.present == 0, -torch.inf), thresholds, curve) + 0.5
        negatives = pair_sums(scores.masked_fill(~lists.negative, -torch.inf), thresholds, curve)
        return {"rank": table.mean(negatives / (positives + negatives))}


class ApproxNDCGLoss(ListLoss):
    """ApproxNDCG: 1 - DCG / its best value, DCG = sum over positives of (2^label - 1) / log2(1 + rank).

    rank_i = 1 + sum of sigmoid((s_j - s_i) / temperature) over all other j. Component: ``rank``. The gradient is exact;
    time grows with P x N.

    Args:
        temperature: width of the step, in logits; a number or a tensor over the leading dimensions.

    Reference:
        Qin, Liu, Li, "A General Approximation Framework for Direct Optimization of Information Retrieval Measures",
        Information Retrieval 2010.
    """

    soft_labels = True

    def __init__(self, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        curve = _curve(self.per_list("temperature", lists, above=0.0), lists)
        counted = lists.scores.masked_fill(~(lists.positive | lists.negative), -torch.inf)
        ranks = 0.5 + pair_sums(counted, table.take(lists.scores), curve)
        labels = table.take(lists.labels.detach()).to(table.present.dtype)
        gains = evenly(torch.exp2, labels) - 1.0
        gained = (gains / torch.log2(1.0 + ranks) * table.present).sum(-1)
        places = torch.arange(1, gains.shape[-1] + 1, dtype=gains.dtype, device=gains.device)
        best = (gains.sort(dim=-1, descending=True).values * math.log(2.0) / torch.log1p(places)).sum(-1)
        return {"rank": 1.0 - gained / best.clamp_min(torch.finfo(best.dtype).tiny)}


def _curve(temperature: float | Tensor, lists: Lists) -> Curve:
    """The smooth step, in the scores' type: pairs are not made in a wider one."""
    return sigmoid_curve(temperature.to(lists.scores.dtype) if isinstance(temperature, Tensor) else temperature)
