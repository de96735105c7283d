"""Losses that take every score by itself: the baselines that ranking losses are compared with.

They know nothing of the other scores in a list. Normalised by the number of positives, as detectors do: with
``scope="batch"`` (one list over all classes) the value is the published one.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists, accumulation_type


class PointwiseLoss(ListLoss):
    """A loss that is a sum over the entries of a list, per positive. Component: ``rank``.

    Args:
        weight: factor of every entry, for example its class's; a number, or a tensor that broadcasts to the scores.
    """

    pointwise = True
    error_rate = False

    def __init__(self, *, weight: float | Tensor = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        values = self.entries(lists) * (lists.positive | lists.negative)
        if isinstance(self.weight, Tensor) and self.weight.numel():
            shape = (*lists.leading, lists.scores.shape[-1])
            try:
                weight = self.weight.to(values).expand(shape).reshape(values.shape)
            except RuntimeError:
                raise ConfigError(
                    f"{type(self).__name__} got weight of shape {list(self.weight.shape)}; expected a number or a "
                    f"tensor that broadcasts to the scores' {list(shape)}"
                ) from None
            values = values * weight
        elif not isinstance(self.weight, Tensor) and self.weight != 1.0:
            values = values * self.weight
        return {"rank": values.sum(-1, dtype=accumulation_type(values.device)) / self.normalizer(lists)}

    def normalizer(self, lists: Lists) -> Tensor:
        """Returns what the sum over each list is divided by, ``[lists]``: the number of its positives, at least 1."""
        return lists.count.clamp(min=1)

    @abstractmethod
    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``; what it says of ignored entries is not used."""


class BCELoss(PointwiseLoss):
    """Binary cross-entropy: the sum over a list of -log p (positives) or -log(1 - p), per positive.

    Labels count as 1 where they are positive. Component: ``rank``.

    Args:
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.
    """

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        return surprise(signed(lists))


class FocalLoss(PointwiseLoss):
    """Focal loss: cross-entropy that fades out for scores that are right already, per positive.

    alpha_t (1 - p_t)^gamma (-log p_t), with p_t the probability of what the label says. Labels count as 1 where they
    are positive. Component: ``rank``.

    Args:
        alpha: weight of the positives; the negatives have 1 - alpha.
        gamma: how fast easy examples fade out; 0 is weighted cross-entropy.
        weight: factor of every entry; a number, or a tensor that broadcasts to the scores.

    Reference:
        Lin, Goyal, Girshick, He, Dollar, "Focal Loss for Dense Object Detection", ICCV 2017. Differs: computed
        from logarithms, so the gradient is finite for any score and any gamma.
    """

    def __init__(
        self, alpha: float | Tensor = 0.25, gamma: float | Tensor = 2.0, *, weight: float | Tensor = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.gamma = gamma

    def entries(self, lists: Lists) -> Tensor:
        """Computes what each entry costs, ``[lists, n]``."""
        alpha, gamma = self.per_list("alpha", lists), self.per_list("gamma", lists)
        margin = signed(lists)
        loss = surprise(margin)
        fading = (-gamma * (margin + loss)).exp()  # margin + surprise(margin) = -log(1 - p_t)
        weight = lists.positive * (2.0 * alpha - 1.0) + (1.0 - alpha)
        return (fading * loss * weight).to(loss.dtype)


def signed(lists: Lists, logits: Tensor | None = None) -> Tensor:
    """Returns the logit of what the label says: the score of a positive, minus the score of another.

    Args:
        lists: which are positives.
        logits: ``[lists, n]`` in place of the scores.
    """
    logits = lists.scores if logits is None else logits
    return logits * (lists.positive.to(logits.dtype) * 2.0 - 1.0)


def surprise(logits: Tensor) -> Tensor:
    """Returns -log(sigmoid(logits)), finite for any finite logit."""
    return -nn.functional.logsigmoid(logits)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns -y log p - (1 - y) log(1 - p) of labels y in [0, 1], finite for any finite score."""
    return surprise(scores) + (1.0 - labels) * scores
