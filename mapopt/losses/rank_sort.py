"""Rank & Sort: positives above negatives, and among the positives the better localised ones above the others.

The labels of the positives are their IoUs. Ranking needs sums over pairs of a positive and any score (`Bins`);
sorting needs sums over pairs of positives that are ordered one way by label and the other by score (`WrongPairs`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.dominance import LARGEST_MATRIX, wrong_pairs
from mapopt.losses.sums.gradients import Component, error_driven, positive_mass, soft_ranks, wrong_mass
from mapopt.losses.sums.grid import EdgeCounter
from mapopt.losses.sums.lists import Lists, totals
from mapopt.losses.sums.one_pass import OnePass, is_number
from mapopt.losses.sums.ranking import Ranking
from mapopt.losses.table import ERROR_DRIVEN_WEIGHT

_SMALLEST_MASS = 1e-10  # below it there is nothing to distribute an error to; the published epsilon


class RankSortLoss(ListLoss):
    """Rank & Sort loss: ranking error plus sorting error, each a mean over the positives.

    Ranking error of positive i: b_i / (a_i + b_i), with a_i and b_i the sums of H(s_j - s_i) over positives (itself
    included, H(0) = 1/2) and negatives. Sorting error: the mean of 1 - label over the positives above i, weighted by
    H, minus the same mean over those of them with a label at least as high. Components: ``rank`` and ``sort``.

    Args:
        delta: half the width of the ramp, in logits; a number or a tensor over the leading dimensions.
        gradient: ``"error-driven"``, the published update, or ``"exact"``, the true gradient of the same value.

    Reference:
        Oksuz, Cam, Akbas, Kalkan, "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021.
        Differs: sub-quadratic in the scores, and a weight on the sorting component reaches its gradient.
    """

    soft_labels = True
    default_class_weight = ERROR_DRIVEN_WEIGHT

    def __init__(
        self, delta: float | Tensor = 0.5, *, gradient: Literal["error-driven", "exact"] = "error-driven"
    ) -> None:
        super().__init__()
        self.delta = delta
        self.gradient = gradient

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank`` and ``sort``, ``[lists]`` each."""
        ranking = self._ranking(lists, self.per_list("delta", lists, above=0.0))
        table = lists.table
        labels = table.take(lists.labels.detach()).to(table.present.dtype)
        errors = (1.0 - labels) * table.present
        weights = torch.stack([table.present, errors])
        pairs = wrong_pairs(table, labels, ranking.sums.width)
        if self.word("gradient", ("error-driven", "exact")) == "exact":
            positives, negatives = soft_ranks(ranking)
            wrong, wrong_errors = wrong_mass(ranking, pairs, weights)
            sorting = _sorting_error(positives, positive_mass(ranking, errors), wrong, wrong_errors)
            ranked = negatives / (positives + negatives).clamp_min(0.5)
            return {"rank": table.mean(ranked), "sort": table.mean(sorting)}

        positives = ranking.sums.mass(ranking.positives)
        negatives = ranking.sums.mass(ranking.negatives)
        total = (positives + negatives).clamp_min(0.5)  # the positive itself is 1/2; less only in padding
        error = negatives / total * table.present
        pushed = (negatives > _SMALLEST_MASS) * table.present / table.count
        rank = Component(value=table.mean(error), positives=-error * pushed, negatives=pushed / total)

        wrong, wrong_errors = pairs.above(weights)
        sorting = _sorting_error(positives, ranking.sums.mass(ranking.positives, errors), wrong, wrong_errors)
        pushed = sorting * (wrong > _SMALLEST_MASS) * table.present / table.count
        received = pairs.below((pushed / wrong.clamp_min(_SMALLEST_MASS))[None])[0] * table.present
        sort = Component(value=table.mean(sorting), positives=received - pushed, negatives=None)
        return dict(zip(["rank", "sort"], error_driven(ranking, rank, sort), strict=True))

    def in_one_pass(self) -> OnePass | None:
        """Returns the pass of the published update; a subclass has none, since it may compute something else."""
        if type(self) is not RankSortLoss or self.gradient != "error-driven" or not is_number(self.delta, above=0.0):
            return None
        return _one_pass(float(self.delta))

    def _ranking(self, lists: Lists, delta: float | Tensor) -> Ranking:
        return Ranking(lists, delta)


class BucketedRankSortLoss(RankSortLoss):
    """Rank & Sort on buckets: negatives between neighbouring positives all count at the mean of their scores.

    An approximation, proposed for speed against a loop over positives. With exact bins the true loss costs no more, so
    this member is here to be compared with.

    Negatives more than delta below the lowest positive are left out. Components, arguments and updates as in
    `RankSortLoss`; with ``gradient="exact"`` the means are taken as fixed places.

    Reference:
        Yavuz, Can, Oksuz, Cam, Kalkan, Akbas, "Bucketed Ranking-based Losses for Efficient Training of Object
        Detectors", ECCV 2024. Differs: a negative tied with a positive is always in the bucket above it.
    """

    def _ranking(self, lists: Lists, delta: float | Tensor) -> Ranking:
        scores, thresholds = lists.exact_scores, lists.table.thresholds
        counted = lists.negative & (scores >= thresholds[:, :1] - delta)
        weight = counted.to(scores.dtype)
        number, buckets = scores.shape[0], thresholds.shape[-1] + 1
        first = torch.arange(0, number * buckets, buckets, device=scores.device)[:, None]
        flat = (EdgeCounter(thresholds).count(scores) + first).flatten()
        size = totals(flat, weight.flatten(), number * buckets)
        total = totals(flat, torch.where(counted, scores, 0.0).flatten(), number * buckets)
        mean = (total / size.clamp(min=1.0)).to(scores.dtype).index_select(0, flat).reshape(scores.shape)
        return Ranking(lists, delta, scores=torch.where(counted, mean, scores))


def _sorting_error(positives: Tensor, errors: Tensor, wrong: Tensor, wrong_errors: Tensor) -> Tensor:
    """The mean error above each positive minus the mean without the wrongly sorted, from their sums ``[lists, P]``."""
    current = errors / positives.clamp_min(0.5)
    target = (errors - wrong_errors) / (positives - wrong).clamp_min(0.5)
    return current - target


@lru_cache
def _one_pass(delta: float) -> OnePass:
    return OnePass(
        kernel="rank_and_sort",
        components=("rank", "sort"),
        delta=delta,
        parameter=_SMALLEST_MASS,
        moved=2,
        max_positives=LARGEST_MATRIX,
    )
