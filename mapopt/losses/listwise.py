"""The listwise classics: a ranking as a probability distribution, and its likelihood as the loss.

Both are cross-entropies of a softmax over the list, smooth and unbounded; neither knows AP, but both push positives
above everything else. O(n log n).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists, accumulation_type


class ListNetLoss(ListLoss):
    """ListNet: cross-entropy between the labels, scaled to sum to 1, and the softmax of the scores.

    It is the chance of being drawn first. Component: ``rank``.

    Reference:
        Cao, Qin, Liu, Tsai, Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007. Differs:
        the labels themselves are the target, not their softmax, which is almost uniform when most labels are 0.
    """

    soft_labels = True
    error_rate = False

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        labels = table.take(lists.labels.detach()).to(table.present.dtype)
        target = labels / labels.sum(-1, keepdim=True).clamp_min(torch.finfo(labels.dtype).tiny)
        surprise = _log_total(lists, lists.positive | lists.negative)[:, None] - table.take(_wide(lists))
        return {"rank": (target * surprise).sum(-1)}


class ListMLELoss(ListLoss):
    """ListMLE: negative log-likelihood of the order by label under the Plackett-Luce model, per positive.

    Positives are drawn one by one, by label, each from what has no higher label; the order among the negatives does
    not count. Equal labels are drawn from the same set (Breslow's way with ties), so the order of the input does not
    matter. Component: ``rank``.

    Reference:
        Xia, Liu, Wang, Zhang, Li, "Listwise Approach to Learning to Rank: Theory and Algorithm", ICML 2008. Differs:
        ends after the positives, tie handling, mean instead of sum.
    """

    soft_labels = True
    error_rate = False

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        table = lists.table
        labels = table.take(lists.labels.detach()).masked_fill(table.present == 0, torch.inf)
        labels, order = labels.sort(dim=-1)
        scores = table.take(_wide(lists))
        ascending = scores.masked_fill(table.present == 0, _NOTHING).gather(-1, order)
        # The log of the sum of exp(s) over all negatives, then with one positive more at a time.
        total = torch.cat([_log_total(lists, lists.negative)[:, None], ascending], -1).logcumsumexp(-1)
        last_of_equals = torch.searchsorted(labels, labels, right=True)
        surprise = (total.gather(-1, last_of_equals) - ascending) * table.present
        return {"rank": surprise.sum(-1) / table.count[:, 0]}


_NOTHING = -1e30  # the logarithm of nothing: finite, so that no difference of infinities arises


def _wide(lists: Lists) -> Tensor:
    """The scores in the accumulation type, with their gradient."""
    return lists.scores.to(accumulation_type(lists.scores.device))


def _log_total(lists: Lists, counted: Tensor) -> Tensor:
    """The logarithm of the sum of exp(s) over some entries, ``[lists]``."""
    scores = _wide(lists).masked_fill(~counted, _NOTHING)
    return torch.nn.functional.pad(scores, (0, 1), value=_NOTHING).logsumexp(-1)
