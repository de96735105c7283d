"""COCO's mean average precision over all IoU thresholds at once, as one list per class and in closed form.

AP at an IoU threshold counts the positives whose boxes reach it. A mean over thresholds needs no list per threshold:
what a pair of positives adds to it depends only on how many thresholds the worse of the two boxes reaches. What is left
are the sums over pairs that AP-loss and Rank & Sort are made of.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.compiler import not_traced
from mapopt.losses.sums.dominance import LARGEST_MATRIX, WrongPairs, wrong_pairs
from mapopt.losses.sums.gradients import Component, error_driven, soft_ranks, wrong_mass
from mapopt.losses.sums.lists import Lists, as_lists
from mapopt.losses.sums.one_pass import OnePass, is_number
from mapopt.losses.sums.ranking import Ranking
from mapopt.losses.table import ERROR_DRIVEN_WEIGHT


class MeanAPLoss(ListLoss):
    """1 - mean of AP over IoU thresholds: mean over positives of (1 - q_i) + q_i b_i / r_i + c_i / r_i.

    q_i in [0, 1] is the fraction of the thresholds that the box of positive i reaches, by its label y_i. With the ramp
    H(x) = clip(x / (2 delta) + 1/2, 0, 1), b_i is the sum of H(s_j - s_i) over the negatives, r_i = 1 + b_i + the sum
    of H(s_j - s_i) over the other positives, and c_i the sum of H(s_j - s_i) (q_i - q_j) over the positives j with
    q_j < q_i. Components: ``localization`` (the box itself), ``rank`` (background above it) and ``sort`` (worse boxes
    above it).

    With labels of 1 the value is that of `APLoss` without interpolation. Labels pass a gradient on: where they are
    IoUs of predicted boxes, this is a box loss too, and `box_weights` says how much each box counts in it.

    Args:
        delta: half the width of the ramp, in logits; a number or a tensor over the leading dimensions.
        thresholds: which IoU thresholds AP is averaged over: ``"uniform"``, all from 0 to 1, or ``"coco"``, the ten of
            .5, .55, ..., .95, at whose steps labels have no gradient.
        floor: weight of one more threshold, that every positive reaches, beside the others, whose weights sum to
            1 - floor. In [0, 1], a number or a tensor over the leading dimensions. By default q = (1 + y) / 2, so that
            boxes still count that reach none of COCO's thresholds; AP as COCO has it is ``thresholds="coco"`` with
            ``floor=0``.
        gradient: how scores are moved: ``"error-driven"``, the update of AP-loss for these errors, or ``"exact"``, the
            true gradient of the same value. What labels pass on is the true gradient either way.

    Reference:
        Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick, "Microsoft COCO: Common Objects in Context", ECCV
        2014 (the metric); Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019 (the
        ramp and the update). Differs: no paper has this loss; like the metric without interpolation, it counts what is
        a false positive at a threshold at that threshold only.

    Example:
        >>> scores, labels = torch.tensor([3.0, 0.0, -3.0]), torch.tensor([0.6, 0.0, 0.8])
        >>> loss = MeanAPLoss(thresholds="coco", floor=0.0)
        >>> {name: round(value.item(), 3) for name, value in loss.components(scores, labels).items()}
        {'localization': 0.5, 'rank': 0.117, 'sort': 0.067}
    """

    soft_labels = True
    default_class_weight = ERROR_DRIVEN_WEIGHT

    def __init__(
        self,
        delta: float | Tensor = 1.0,
        *,
        thresholds: Literal["uniform", "coco"] = "uniform",
        floor: float | Tensor = 0.5,
        gradient: Literal["error-driven", "exact"] = "error-driven",
    ) -> None:
        super().__init__()
        self.delta = delta
        self.thresholds = thresholds
        self.floor = floor
        self.gradient = gradient

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``localization``, ``rank`` and ``sort``, ``[lists]`` each."""
        ranking = Ranking(lists, self.per_list("delta", lists, above=0.0))
        table, present = lists.table, lists.table.present
        quality = self._quality(lists)
        fixed = quality.detach()
        pairs = wrong_pairs(table, fixed, ranking.sums.width)
        if self.word("gradient", ("error-driven", "exact")) == "exact":
            positives, negatives = soft_ranks(ranking)
            number, worse = wrong_mass(ranking, pairs, torch.stack([present, fixed]))
            total = positives + 0.5 + negatives
            rank, sort = table.mean(fixed * negatives / total), table.mean((fixed * number - worse) / total)
            negatives, number, total = negatives.detach(), number.detach(), total.detach()
        else:
            negatives = ranking.sums.mass(ranking.negatives)
            total = ranking.sums.mass(ranking.positives) + 0.5 + negatives
            number, worse = pairs.above(torch.stack([present, fixed]))
            rank, sort = error_driven(ranking, *_updates(ranking, pairs, fixed, (negatives, total, number, worse)))
        if quality.requires_grad:
            # What the value changes by with q, added as nothing: the values above have their own gradient.
            change = quality - fixed
            rank = rank + table.mean(negatives / total * change)
            sort = sort + table.mean((number / total - pairs.below((present / total)[None])[0]) * change)
        return {"localization": table.mean(1.0 - quality), "rank": rank, "sort": sort}

    def in_one_pass(self) -> OnePass | None:
        """Returns the pass of the published update; a subclass has none, since it may compute something else."""
        known = type(self) is MeanAPLoss and (self.thresholds, self.gradient) == ("uniform", "error-driven")
        if not (known and is_number(self.delta, above=0.0) and is_number(self.floor) and 0.0 <= self.floor <= 1.0):
            return None
        return _one_pass(float(self.delta), float(self.floor))

    def quality(self, ious: Tensor, lists: Lists) -> Tensor:
        """Returns the fraction of the IoU thresholds that boxes reach: what a subclass writes to have another.

        Args:
            ious: ``[lists, P]``, in (0, 1] and a little above where an overlap of equal boxes was rounded up.
            lists: to read attributes for, see `per_list`.

        Returns:
            ``[lists, P]`` in [0, 1], which never falls where the IoU rises. Its gradient is what labels pass on.
        """
        floor = self.per_list("floor", lists, within=(0.0, 1.0))
        if self.word("thresholds", ("uniform", "coco")) == "uniform":
            return floor + (1.0 - floor) * ious.clamp(max=1.0)
        reached = (ious.to(lists.labels.dtype)[..., None] >= _COCO.to(ious.device, lists.labels.dtype)).sum(-1)
        return floor + (1.0 - floor) * reached.to(ious.dtype) / len(_COCO)

    @not_traced
    def box_weights(self, scores: Tensor, labels: Tensor, where: Tensor | None = None) -> Tensor:
        """Returns how much each box counts: what the value of its list falls by with its q, ``[..., n]``.

        Every pair of a positive and one above it counts for the worse of the two boxes, which limits what both add to
        AP. They are constants, 0 but at positives, and sum to the soft AP that the list has with labels of 1.

        Args:
            scores: as in `forward`; so are the other arguments and what is raised.
            labels: the same.
            where: the same.

        Example:
            >>> MeanAPLoss().box_weights(torch.tensor([3.0, 0.0, -3.0]), torch.tensor([0.6, 0.0, 0.8]))
            tensor([0.6667, 0.0000, 0.1667])
        """
        scores, labels, where = as_lists(scores, labels, where)
        lists = Lists(scores, labels, where)
        with torch.no_grad():
            ranking = Ranking(lists, self.per_list("delta", lists, above=0.0))
            table = lists.table
            pairs = wrong_pairs(table, self._quality(lists), ranking.sums.width)
            positives = ranking.sums.mass(ranking.positives) + 0.5
            part = table.present / (positives + ranking.sums.mass(ranking.negatives))
            weights = part * (positives - pairs.above(table.present[None])[0]) + pairs.below(part[None])[0]
            spread = torch.zeros_like(lists.scores, dtype=weights.dtype)
            spread = table.put(spread, weights * table.present / table.count).to(lists.type)
            return spread.masked_fill(lists.bad[:, None], torch.nan).reshape(scores.shape)

    def _quality(self, lists: Lists) -> Tensor:
        """Returns q of the positives ``[lists, P]``, 0 for padding."""
        table = lists.table
        return self.quality(table.take(lists.labels).to(table.present.dtype), lists) * table.present


_COCO = torch.arange(50, 100, 5, dtype=torch.float64) / 100  # so that a label of .6 reaches .6


def _updates(
    ranking: Ranking, pairs: WrongPairs, quality: Tensor, sums: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Component, Component]:
    """Returns ``rank`` and ``sort`` with their updates.

    Args:
        ranking: the lists.
        pairs: of positives, wrongly sorted.
        quality: q ``[lists, P]``, 0 for padding.
        sums: over what is above each positive: the negatives, everything with the positive itself, the positives of
            lower q, and their q.
    """
    table = ranking.table
    negatives, total, number, worse = sums
    part = table.present / (total * table.count)
    false = quality * negatives
    rank = Component(value=table.mean(false / total), positives=-false * part, negatives=quality * part)
    wrong = quality * number - worse
    by_quality, by_number = pairs.below(torch.stack([quality * part, part]))
    received = (by_quality - quality * by_number) * table.present
    sort = Component(value=table.mean(wrong / total), positives=received - wrong * part, negatives=None)
    return rank, sort


@lru_cache
def _one_pass(delta: float, floor: float) -> OnePass:
    return OnePass(
        kernel="mean_average_precision",
        components=("localization", "rank", "sort"),
        delta=delta,
        parameter=floor,
        moved=2,
        max_positives=LARGEST_MATRIX,
        moves_labels=True,
    )
