"""Adaptive pairwise error: each positive against its own negatives, with a cross-entropy that never saturates.

A positive's negatives are the background and the positives that are worse localised than itself. The original takes
the logarithm of a rounded sigmoid, whose gradient vanishes for the worst pairs (a gap above 4.2 in float32); here the
logarithm is taken exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.pairs import pair_sums, sigmoid_curve, softplus_curve, windowed


class APELoss(ListLoss):
    """APE loss: mean over positives i of label_i times the pairwise errors of what is above i, per place of its rank.

    The error of a pair is log(1 + exp(k (s_j - s_i))) / k, k the steepness, for every j among the negatives and the
    positives of a lower label with s_j - s_i > -4 / k. It is divided by i's soft rank, the sum of
    sigmoid(k (s_j - s_i)) over the same window with the other positives, taken as a constant. The mean is over
    positives that have such a pair. Component: ``rank``.

    Args:
        steepness: of the sigmoid, per logit; a number or a tensor over the leading dimensions.

    Reference:
        Xu, Deng, Zhang, Zhou, Zhang, Yi, Zhang, "Revisiting AP Loss for Dense Object Detection: Adaptive Ranking Pair
        Selection", CVPR 2022. Differs: no vanishing gradient, no limit to the number of negatives.

    Example:
        >>> scores = torch.tensor([0.0, 1000.0], requires_grad=True)
        >>> APELoss()(scores, torch.tensor([1.0, 0.0])).backward()
        >>> scores.grad.abs() > 0.5
        tensor([True, True])
    """

    soft_labels = True

    def __init__(self, steepness: float | Tensor = 4.0) -> None:
        super().__init__()
        self.steepness = steepness

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        steepness = self.per_list("steepness", lists, above=0.0)
        width = (1.0 / steepness).to(lists.scores.dtype) if isinstance(steepness, Tensor) else 1.0 / steepness
        labels = table.take(lists.labels.detach())
        scores = lists.scores.masked_fill(~lists.negative, -torch.inf)
        thresholds = table.take(lists.scores)
        others = thresholds.masked_fill(table.present == 0, -torch.inf)

        def lower_label(part: slice) -> Tensor:
            return (labels[:, None, :] < labels[:, part, None]).to(labels.dtype)

        error, rank = windowed(softplus_curve(width), -4.0 * width), windowed(sigmoid_curve(width), -4.0 * width)
        errors = pair_sums(scores, thresholds, error) + pair_sums(others, thresholds, error, lower_label)
        with torch.no_grad():
            ranks = pair_sums(scores, thresholds, rank) + pair_sums(others, thresholds, rank)
            counted = (errors > 0) * table.present
        per_positive = labels * errors / ranks.clamp_min(0.5) / steepness * table.present
        return {"rank": per_positive.sum(-1) / counted.sum(-1).clamp_min(1.0)}
