"""Average precision of a histogram of scores: FastAP and quantised AP, which are the same formula.

Each score is shared between the two nearest of a row of bins; precision and recall then follow from the bins' running
sums. Linear in the number of scores, with an exact gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.sums.evenly import evenly
from mapopt.losses.sums.lists import Lists, accumulation_type, totals


class QuantizedAPLoss(ListLoss):
    """Quantised AP: 1 - sum over bins, best first, of precision times the gain in recall.

    A score p = sigmoid(s) is shared linearly between the two nearest of the bins' centres 1, ..., 0. Component:
    ``rank``.

    Args:
        bins: number of centres.
        tie_aware: average AP over all orders of what is in a bin, instead of counting the bin as one place. The
            published form has a nearly upright step, and there a large gradient, where a bin that holds only
            positives holds just over one of them: clip gradients.
        sigmoid: squash the scores first. False where they lie in [0, 1] already.

    Reference:
        Revaud, Almazan, de Rezende, de Souza, "Learning with Average Precision: Training Image Retrieval with a
        Listwise Loss", ICCV 2019; tie-aware: He, Cakir, Bargal, Sclaroff, "Hashing as Tie-Aware Learning to Rank",
        CVPR 2018. Differs: logits are squashed, ignored entries take part in nothing.
    """

    saturates = True

    def __init__(self, bins: int = 25, *, tie_aware: bool = False, sigmoid: bool = True) -> None:
        super().__init__()
        self.bins = bins
        self.tie_aware = tie_aware
        self.sigmoid = sigmoid

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        intervals = _whole(self, self.bins, minimum=2) - 1
        error = _tie_aware_error if self.tie_aware else _error
        return {"rank": error(*_histograms(lists, intervals, squash=self.sigmoid)) / lists.count.clamp(min=1)}


class FastAPLoss(ListLoss):
    """FastAP: average precision of a histogram over the distance 4 (1 - sigmoid(s)). Component: ``rank``.

    Args:
        bins: number of intervals that the distances 0 to 4 are cut into.
        sigmoid: squash the scores first. False where they lie in [0, 1] already: for a cosine similarity c between
            normalised embeddings, (1 + c) / 2, and the distance is the squared Euclidean one.

    Reference:
        Cakir, He, Xia, Kulis, Sclaroff, "Deep Metric Learning to Rank", CVPR 2019. Differs: the true gradient (the
        original's is n / 2 times that), ignored entries take part in nothing.
    """

    saturates = True

    def __init__(self, bins: int = 10, *, sigmoid: bool = True) -> None:
        super().__init__()
        self.bins = bins
        self.sigmoid = sigmoid

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        histograms = _histograms(lists, _whole(self, self.bins, minimum=1), squash=self.sigmoid)
        return {"rank": _error(*histograms) / lists.count.clamp(min=1)}


def _whole(loss: ListLoss, bins: int, *, minimum: int) -> int:
    if bins < minimum or int(bins) != bins:
        raise ConfigError(
            f"{type(loss).__name__} got bins={bins}; expected a whole number of at least {minimum}, or no score "
            "could be distinguished from another"
        )
    return int(bins)


def _error(positives: Tensor, negatives: Tensor) -> Tensor:
    """The sum over positives of 1 - the precision of their bin, ``[lists]``, from histograms ``[lists, bins]``."""
    above = negatives.cumsum(-1)
    return (positives * above / (positives.cumsum(-1) + above + 1e-16)).sum(-1)


def _tie_aware_error(positives: Tensor, negatives: Tensor) -> Tensor:
    """As `_error`, averaged over the orders within a bin, in the closed form of He et al."""
    tiny = 1e-8  # the published one
    everything = positives + negatives
    up_to, all_up_to = positives.cumsum(-1), everything.cumsum(-1)
    before, all_before = up_to - positives, all_up_to - everything
    ratio = (positives - 1.0).clamp_min(0.0) / ((everything - 1.0).clamp_min(0.0) + tiny)
    growth = torch.log((all_up_to + 1.0) / (all_before + 1.0))
    precision = (everything * ratio + (before + 1.0 - ratio * (all_before + 1.0)) * growth) / (everything + tiny)
    return (positives * (1.0 - precision)).sum(-1)


def _histograms(lists: Lists, intervals: int, *, squash: bool) -> tuple[Tensor, Tensor]:
    """Returns the histograms of the positives and of the negatives, ``[lists, bins]``, best bin first."""
    scores = lists.scores.to(accumulation_type(lists.scores.device))
    place = (evenly(torch.sigmoid, -scores) if squash else 1.0 - scores) * intervals  # 0 for the best score
    kind = lists.positive.long() * 2 + lists.negative.long()
    _, negatives, positives = _Histograms.apply(place, kind, intervals).unbind(1)
    return positives, negatives


class _Histograms(torch.autograd.Function):
    """Counts places 0 to k, each shared between the whole numbers next to it; one histogram for each of 3 kinds."""

    @staticmethod
    def forward(ctx: Any, place: Tensor, kind: Tensor, intervals: int) -> Tensor:
        lists, bins = place.shape[0], intervals + 1
        lower = place.clamp(0, intervals - 1).long().clamp_(0)  # the last clamp catches NaN
        part = (place - lower).clamp_(0.0, 1.0)
        flat = torch.arange(0, lists * 3 * bins, 3 * bins, device=place.device)[:, None] + kind * bins
        ctx.save_for_backward(place, lower, flat)
        ctx.intervals = intervals
        at = (flat + lower).flatten()
        histogram = totals(at, (1.0 - part).flatten(), lists * 3 * bins + 1)
        histogram[1:] += totals(at, part.flatten(), lists * 3 * bins)
        return histogram[:-1].reshape(lists, 3, bins).to(place.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        place, lower, flat = ctx.saved_tensors
        slopes = torch.nn.functional.pad(upstream.diff(dim=-1), (0, 1)).flatten()
        at = (flat + lower).flatten()
        gradient = slopes[at].reshape(place.shape)
        centered = (place == lower) & (lower > 0)
        if centered.any():  # on a centre the two slopes differ: their mean, so that neither side is preferred
            gradient = torch.where(centered, 0.5 * (gradient + slopes[at - 1].reshape(place.shape)), gradient)
        inside = (place > 0) & (place < ctx.intervals)  # the ends are where scores are clipped
        return gradient * inside, None, None
