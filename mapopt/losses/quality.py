"""Losses that know the quality of the boxes: a score should say how well its box fits.

Labels are the positives' IoUs, taken as constants. Two are pointwise, per positive of a list as the others; one is an
auxiliary term that asks for correlation.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.pointwise import PointwiseLoss, cross_entropy, surprise
from mapopt.losses.sums.evenly import evenly, raised
from mapopt.losses.sums.lists import Lists


class QualityFocalLoss(PointwiseLoss):
    """Quality focal loss: |y - p|^beta (-y log p - (1 - y) log(1 - p)), p = sigmoid(s), per positive.

    Component: ``rank``.

    Args:
        beta: how fast examples fade out whose score fits their quality; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Li, Wang, Wu, Chen, Hu, Li, Tang, Yang, "Generalized Focal Loss: Learning Qualified and Distributed Bounding
        Boxes for Dense Object Detection", NeurIPS 2020.
    """

    soft_labels = True

    def __init__(self, beta: float | Tensor = 2.0, *, weight: float | Tensor = 1.0) -> None:
        super().__init__(weight=weight)
        self.beta = beta

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        beta = self.per_list("beta", lists, above=0.0)
        labels = lists.labels.detach().clamp(0.0, 1.0)
        gap = (labels - evenly(torch.sigmoid, lists.scores)).abs()
        return raised(gap, beta) * cross_entropy(lists.scores, labels)


class VarifocalLoss(PointwiseLoss):
    """Varifocal loss: y (-y log p - (1 - y) log(1 - p)) for positives, alpha p^gamma (-log(1 - p)) for negatives.

    p = sigmoid(s); per positive. Component: ``rank``.

    Args:
        alpha: weight of the negatives; a number or a tensor.
        gamma: how fast easy negatives fade out; a number or a tensor.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Zhang, Wang, Dayoub, Suenderhauf, "VarifocalNet: An IoU-aware Dense Object Detector", CVPR 2021.
    """

    soft_labels = True

    def __init__(
        self, alpha: float | Tensor = 0.75, gamma: float | Tensor = 2.0, *, weight: float | Tensor = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.gamma = gamma

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        alpha, gamma = self.per_list("alpha", lists), self.per_list("gamma", lists)
        labels = lists.labels.detach().clamp(0.0, 1.0)
        fading = alpha * (-gamma * surprise(lists.scores)).exp()  # p^gamma, from its logarithm
        weight = labels + fading * lists.negative
        return weight * cross_entropy(lists.scores, labels)


class CorrelationLoss(ListLoss):
    """1 - correlation between sigmoid(score) and label over the positives of a list. Component: ``rank``.

    An auxiliary term beside any classification loss: it says nothing about negatives. Lists with fewer than two
    positives have no correlation and give 0.

    Args:
        coefficient: ``"concordance"`` asks for equal values, ``"pearson"`` for any rising line.

    Reference:
        Kahraman, Oksuz, Kalkan, Akbas, "Correlation Loss: Enforcing Correlation between Classification and
        Localization", AAAI 2023. Differs: labels are constants; a list without spread gives 1 and no gradient.
    """

    soft_labels = True

    def __init__(self, coefficient: Literal["concordance", "pearson"] = "concordance") -> None:
        super().__init__()
        self.coefficient = coefficient

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        labels = table.take(lists.labels.detach()).to(table.present.dtype)
        scores = table.take(evenly(torch.sigmoid, lists.scores.to(table.present.dtype)))
        score_mean, label_mean = table.mean(scores), table.mean(labels)
        score_rest, label_rest = scores - score_mean[:, None], labels - label_mean[:, None]
        together = table.mean(score_rest * label_rest)
        score_spread, label_spread = table.mean(score_rest**2), table.mean(label_rest**2)
        if self.word("coefficient", ("concordance", "pearson")) == "concordance":
            top, bottom = 2.0 * together, score_spread + label_spread + (score_mean - label_mean) ** 2
            defined = bottom > _SMALLEST_SPREAD
            bottom = torch.where(defined, bottom, 1.0)
        else:
            top, bottom = together, score_spread * label_spread
            defined = bottom > _SMALLEST_SPREAD
            bottom = torch.where(defined, bottom, 1.0).sqrt()
        correlation = torch.where(defined, top / bottom, 0.0)
        return {"rank": torch.where(lists.count > 1, 1.0 - correlation, 0.0)}


_SMALLEST_SPREAD = 1e-12  # squared; below it the correlation is rounding error
