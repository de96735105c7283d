"""Average localisation recall precision: one ranking error made of false positives and of badly placed boxes.

Labels are the positives' IoUs; where they were computed from the predicted boxes, the localisation part sends its
gradient through them. The published implementation ranks softly in the classification part and sharply in the
localisation part; so do we, except that tied positives count half, whatever their order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.gradients import Component, error_driven, positive_mass, soft_ranks
from mapopt.losses.sums.lists import Lists, PositiveTable
from mapopt.losses.sums.one_pass import OnePass, is_number
from mapopt.losses.sums.ranking import Ranking
from mapopt.losses.table import ERROR_DRIVEN_WEIGHT

_SMALLEST_MASS = 1e-5  # with fewer false positives above it a positive makes no update; the published epsilon


class ALRPLoss(ListLoss):
    """aLRP loss: mean over positives of (false positives above + localisation errors above) / rank.

    With H(x) = clip(x / (2 delta) + 1/2, 0, 1), b_i the sum of H(s_j - s_i) over negatives and
    r_i = 1 + b_i + sum of H(s_j - s_i) over the other positives: ``classification`` is the mean of b_i / r_i, and
    ``localization`` the mean of (sum of e_j over positives at least as high as i) / r_i, e = (1 - label) / 0.5.

    Args:
        delta: half the width of the ramp, in logits; a number or a tensor over the leading dimensions.
        gradient: ``"error-driven"``, the published update; each component pushes a positive up by its own error. Or
            ``"exact"``, the true gradient; the localisation part then ranks softly too, since a sharp rank has none.

    Reference:
        Oksuz, Cam, Akbas, Kalkan, "A Ranking-based, Balanced Loss Function Unifying Classification and Localisation
        in Object Detection", NeurIPS 2020. Differs: exact and sub-quadratic, ties count half, and the localisation
        errors' part of the scores' update depends on the weight of the localisation component.
    """

    soft_labels = True
    default_class_weight = ERROR_DRIVEN_WEIGHT

    def __init__(
        self, delta: float | Tensor = 1.0, *, gradient: Literal["error-driven", "exact"] = "error-driven"
    ) -> None:
        super().__init__()
        self.delta = delta
        self.gradient = gradient

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``classification`` and ``localization``, ``[lists]`` each."""
        ranking = Ranking(lists, self.per_list("delta", lists, above=0.0))
        table, sums = lists.table, ranking.sums
        errors = (1.0 - table.take(lists.labels).to(table.present.dtype)) / 0.5 * table.present
        if self.word("gradient", ("error-driven", "exact")) == "exact":
            positives, negatives = soft_ranks(ranking)
            rank = positives + 0.5 + negatives
            located = positive_mass(ranking, errors) + 0.5 * errors
            return {"classification": table.mean(negatives / rank), "localization": table.mean(located / rank)}

        fixed = errors.detach()
        negatives = sums.mass(ranking.negatives)
        rank = sums.mass(ranking.positives) + 0.5 + negatives
        others = sums.mass(ranking.positives, fixed) - 0.5 * fixed
        pushed = (negatives > _SMALLEST_MASS) * table.present / table.count / rank
        classification = Component(value=table.mean(negatives / rank), positives=-negatives * pushed, negatives=pushed)
        localization = Component(
            value=table.mean(_errors_above(table, fixed) / rank),
            positives=-others * pushed,
            negatives=others * pushed / negatives.clamp_min(_SMALLEST_MASS),
        )
        values = error_driven(ranking, classification, localization)
        through_labels = table.mean(_errors_above(table, errors) / rank)
        return {"classification": values[0], "localization": values[1] + (through_labels - through_labels.detach())}

    def in_one_pass(self) -> OnePass | None:
        """Returns the pass of the published update; a subclass has none, since it may compute something else."""
        if type(self) is not ALRPLoss or self.gradient != "error-driven" or not is_number(self.delta, above=0.0):
            return None
        return _one_pass(float(self.delta))


def _errors_above(table: PositiveTable, errors: Tensor) -> Tensor:
    """Sums the errors of the positives above each positive and its own, and half of those tied with it."""
    thresholds = table.thresholds
    below = torch.searchsorted(thresholds, thresholds)
    not_above = torch.searchsorted(thresholds, thresholds, right=True)
    running = pad(errors.cumsum(-1), (1, 0))
    above = running[:, -1:] - running.gather(-1, not_above)
    tied = running.gather(-1, not_above) - running.gather(-1, below)
    return above + 0.5 * (tied + errors)


@lru_cache
def _one_pass(delta: float) -> OnePass:
    return OnePass(
        kernel="localization_recall_precision",
        components=("classification", "localization"),
        delta=delta,
        parameter=_SMALLEST_MASS,
        moved=2,
        spreads=2,
        moves_labels=True,
    )
