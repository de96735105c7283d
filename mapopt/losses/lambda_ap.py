"""LambdaRank for AP: each pair of a positive and a negative weighs what swapping the two would change in AP.

The weights come from the hard ranks and are constants to the gradient; the pair's loss is logistic. It is the oldest
way to make a ranking loss know its metric, and still a strong one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists, middle_ranks
from mapopt.losses.sums.pairs import Curve, PairWeights, pair_sums, softplus_curve


class LambdaAPLoss(ListLoss):
    """LambdaRank with AP: sum over pairs of |change of AP if i and j were swapped| log(1 + exp((s_j - s_i) / t)).

    Pairs of a positive i and a negative j; t is the temperature. Component: ``rank``. Time grows with P x N.

    Args:
        temperature: of the logistic, in logits; a number or a tensor over the leading dimensions.
        normalize: divide by the sum of the weights, which makes the loss of a list a mean over its pairs, as LightGBM
            does (up to a logarithm); the published sum grows with the number of negatives.

    Reference:
        Burges, Ragno, Le, "Learning to Rank with Nonsmooth Cost Functions", NeurIPS 2006;
        Donmez, Svore, Burges, "On the Local Optimality of LambdaRank", SIGIR 2009 (the weights for AP). Differs: equal
        scores share the mean of their ranks.
    """

    error_rate = False

    def __init__(self, temperature: float | Tensor = 1.0, *, normalize: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.normalize = normalize

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        temperature = self.per_list("temperature", lists, above=0.0)
        if isinstance(temperature, Tensor):
            temperature = temperature.to(lists.scores.dtype)
        scores = lists.scores.masked_fill(~lists.negative, -torch.inf)
        thresholds = lists.table.take(lists.scores)
        with torch.no_grad():
            weights = _swap_weights(lists)
        total = pair_sums(scores, thresholds, softplus_curve(temperature), weights)
        total = (total * lists.table.present).sum(-1)
        if not self.normalize:
            return {"rank": total / lists.table.count[:, 0]}
        level = (pair_sums(scores.detach(), thresholds.detach(), _ONE, weights) * lists.table.present).sum(-1)
        return {"rank": total / torch.where(level > 0, level, 1.0)}  # without a pair there is nothing to divide


_ONE = Curve(lambda difference: difference.isfinite().to(difference.dtype), torch.zeros_like)


def _swap_weights(lists: Lists) -> PairWeights:
    """Returns P times |change of AP| when a positive and another entry trade places, for blocks of positives.

    Let an entry stand at rank r with c positives at or above that place. A negative above the positive would, after
    the swap, be a place with precision (c + 1) / r; the positive's own c / r is lost; and every positive between them
    sees one positive more above it. Below, it is the same backwards.
    """
    table = lists.table
    scores = lists.exact_scores.masked_fill(~(lists.positive | lists.negative), -torch.inf)
    ranks = middle_ranks(scores)
    own = table.take(ranks) + (1.0 - table.present)
    among = middle_ranks(table.thresholds.masked_fill(table.present == 0, -torch.inf))
    running = pad((table.present / own).cumsum(-1), (1, 0))  # ascending scores: from the lowest positive
    count = lists.count[:, None].to(ranks.dtype)

    def positives_above(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The number of positives above values (tied: half), and the sums of 1 / rank strictly and not strictly."""
        below = torch.searchsorted(table.thresholds, values)
        not_above = torch.searchsorted(table.thresholds, values, right=True)
        not_above = torch.minimum(not_above, lists.count[:, None])
        strictly, weakly = (running[:, -1:] - running.gather(-1, place) for place in (not_above, below))
        return count - 0.5 * (below + not_above), strictly, weakly

    above, strict, weak = positives_above(lists.exact_scores)
    _, own_strict, own_weak = positives_above(table.thresholds.masked_fill(table.present == 0, 0.0))
    dtype = lists.scores.dtype
    precision = among / own
    if_above = ((above + 1.0) / ranks - weak).to(dtype)  # + what the positive's own place adds
    if_below = (strict - above / ranks).to(dtype)
    own_above, own_below = (own_strict - precision).to(dtype), (precision - own_weak).to(dtype)
    thresholds = table.thresholds.masked_fill(table.present == 0, 0.0)

    def weights(part: slice) -> Tensor:
        higher = lists.exact_scores[:, None, :] > thresholds[:, part, None]
        tied = lists.exact_scores[:, None, :] == thresholds[:, part, None]
        up = (if_above[:, None, :] + own_above[:, part, None]).abs_()
        down = (if_below[:, None, :] + own_below[:, part, None]).abs_()
        return torch.where(higher, up, torch.where(tied, 0.5 / ranks.to(dtype)[:, None, :], down))

    return weights
