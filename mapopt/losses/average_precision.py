"""AP-loss: one minus the average precision of a ranking, with the sharp step of the rank made a ramp.

The published update does not follow the gradient of the loss (the cosine between the two is about 0.65); both are
here, and the published one is the default.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.gradients import Component, error_driven, soft_ranks
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.one_pass import OnePass, is_number
from mapopt.losses.sums.ranking import Ranking
from mapopt.losses.table import ERROR_DRIVEN_WEIGHT


class APLoss(ListLoss):
    """AP-loss: 1 - mean over positives i of a_i / (a_i + b_i).

    a_i = 1/2 + sum of H(s_j - s_i) over the positives j (the positive counts 1 in its own rank), b_i = sum of
    H(s_j - s_i) over the negatives, H(x) = clip(x / (2 delta) + 1/2, 0, 1). Component: ``rank``.

    Args:
        delta: half the width of the ramp, in logits; a number or a tensor over the leading dimensions.
        interpolate: replace each precision by the largest one at an equal or higher recall, as in interpolated AP.
        gradient: ``"error-driven"``, the published update, or ``"exact"``, the true gradient of the same value.

    Reference:
        Chen, Li, Lin, See, Wang, Duan, Chen, He, Zou, "Towards Accurate One-Stage Object Detection with AP-Loss",
        CVPR 2019. Differs: exact and sub-quadratic, and a class without positives gives 0.
    """

    default_class_weight = ERROR_DRIVEN_WEIGHT

    def __init__(
        self,
        delta: float | Tensor = 1.0,
        *,
        interpolate: bool = True,
        gradient: Literal["error-driven", "exact"] = "error-driven",
    ) -> None:
        super().__init__()
        self.delta = delta
        self.interpolate = interpolate
        self.gradient = gradient

    def in_one_pass(self) -> OnePass | None:
        """Returns the pass of the published update; a subclass has none, since it may compute something else."""
        if type(self) is not APLoss or self.gradient != "error-driven" or not is_number(self.delta, above=0.0):
            return None
        return _one_pass(float(self.delta), bool(self.interpolate))

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        ranking = Ranking(lists, self.per_list("delta", lists, above=0.0))
        table = lists.table
        if self.word("gradient", ("error-driven", "exact")) == "exact":
            positives, negatives = soft_ranks(ranking)
            error = negatives / (positives + 0.5 + negatives)
            return {"rank": table.mean(_interpolated(error) if self.interpolate else error)}

        negatives = ranking.sums.mass(ranking.negatives)
        total = ranking.sums.mass(ranking.positives) + 0.5 + negatives
        error = negatives / total
        passed_on = table.present / (total * table.count)
        if self.interpolate:
            left = _interpolated(error)
            # A positive whose precision was lifted passes on only the error that is left.
            passed_on = passed_on * torch.where(left < error, left / error, 1.0)
            error = left
        error = error * table.present
        component = Component(value=table.mean(error), positives=-error / table.count, negatives=passed_on)
        return dict(zip(["rank"], error_driven(ranking, component), strict=True))


def _interpolated(error: Tensor) -> Tensor:
    """Takes the smallest 1 - precision at an equal or higher recall: tables ascend by score, from recall 1."""
    return error.cummin(-1).values


@lru_cache
def _one_pass(delta: float, interpolate: bool) -> OnePass:
    return OnePass(kernel="average_precision", components=("rank",), delta=delta, parameter=float(interpolate))
