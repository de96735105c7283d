"""Plackett-Luce AP: a ranking drawn at random from the scores, and the policy gradient of the AP it reaches.

The bridge between surrogates and reinforcement learning: the action is a ranking, the reward is its AP, and nothing
about AP needs to be differentiable. Rankings are drawn by adding Gumbel noise to the scores and sorting.

The noise is a pure function of the seed and of the scores themselves, entry by entry in sorted order. So a loss has no
random state: the same list gives the same value in any batch, on any lane and after any resumption, and as the scores
move, so does the noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.sums.lists import Lists, accumulation_type


class PlackettLuceAPLoss(ListLoss):
    """1 - mean AP of rankings drawn from the Plackett-Luce model of the scores. Component: ``rank``.

    The gradient is an unbiased estimate of that of the expected value: each ranking's log-probability is pushed by
    how much worse than the other rankings it did (leave-one-out baseline). What is drawn after the last positive
    cannot change AP and is left out of the log-probability.

    Args:
        samples: rankings drawn per list, at least 2.
        temperature: of the model, in logits; small draws stay close to the order of the scores. A number or a tensor
            over the leading dimensions.
        seed: of the noise.

    Reference:
        Kool, van Hoof, Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019;
        Oosterhuis, "Computationally Efficient Optimization of Plackett-Luce Ranking Models for Relevance and
        Fairness", SIGIR 2021.
    """

    def __init__(self, samples: int = 8, temperature: float | Tensor = 1.0, *, seed: int = 0) -> None:
        super().__init__()
        self.samples = samples
        self.temperature = temperature
        self.seed = seed

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes ``rank``, ``[lists]``."""
        if self.samples < 2 or int(self.samples) != self.samples:
            raise ConfigError(
                f"PlackettLuceAPLoss got samples={self.samples}; expected a whole number of at least 2, since the "
                "baseline of a ranking is the mean of the others"
            )
        temperature = self.per_list("temperature", lists, above=0.0)
        if lists.scores.shape[-1] == 0:
            return {"rank": lists.scores.sum(-1)}
        scores = lists.scores.to(accumulation_type(lists.scores.device)) / temperature
        return {"rank": _PolicyGradient.apply(scores, lists, int(self.samples), self.seed)}


class _PolicyGradient(torch.autograd.Function):
    """The mean loss of sampled rankings, and the score-function estimate of its gradient."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lists: Lists, samples: int, seed: int) -> Tensor:
        counted = lists.positive | lists.negative
        # Entries in the order of their scores, positives first among equals: noise goes with the place in this order.
        order = _sorted_order(scores.detach().masked_fill(~counted, -torch.inf), lists.positive)
        scores, positive = scores.gather(-1, order), lists.positive.gather(-1, order)
        scores = scores.nan_to_num(0.0).masked_fill(~counted.gather(-1, order), _NOTHING)
        key = _list_key(lists, counted, seed)
        losses, likelihoods = [], []
        for sample in range(samples):
            loss, likelihood = _draw(scores, positive, _gumbel(key, sample, scores))
            losses.append(loss)
            likelihoods.append(likelihood)
        total = torch.stack(losses).sum(0)
        gradient = torch.zeros_like(scores)
        for loss, likelihood in zip(losses, likelihoods, strict=True):
            advantage = loss - (total - loss) / (samples - 1)
            gradient += advantage[:, None] / samples * likelihood
        gradient = _shared_among_equals(gradient, scores, positive)
        ctx.save_for_backward(torch.zeros_like(gradient).scatter_(-1, order, gradient))
        return total / samples

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None], None, None, None


_NOTHING = -1e30  # the logit of an entry that does not exist


def _draw(scores: Tensor, positive: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draws one ranking per list.

    Returns:
        1 - its AP ``[lists]``, and the gradient of its log-probability ``[lists, n]`` up to the last positive.
    """
    size = scores.shape[-1]
    ranking = (scores + noise).argsort(dim=-1, descending=True, stable=True)
    hits = positive.gather(-1, ranking).to(scores.dtype)
    hits_so_far = hits.cumsum(-1)
    place = torch.arange(1, size + 1, device=scores.device)
    number = hits_so_far[:, -1:].clamp_min(1.0)
    loss = 1.0 - (hits * hits_so_far / place).sum(-1) / number.squeeze(-1)

    drawn = scores.gather(-1, ranking)
    remaining = drawn.flip(-1).logcumsumexp(-1).flip(-1)  # the log of what each draw is normalised by
    counts = hits_so_far - hits < number  # the draws up to the last positive
    chance = (drawn + (-remaining).masked_fill(~counts, _NOTHING).logcumsumexp(-1)).exp()
    gradient = (counts.to(scores.dtype) - chance) * (drawn > 0.5 * _NOTHING)
    return loss, torch.zeros_like(gradient).scatter_(-1, ranking, gradient)


def _shared_among_equals(gradient: Tensor, scores: Tensor, positive: Tensor) -> Tensor:
    """Averages over sorted entries that equal each other in score and label: they are interchangeable."""
    new = torch.zeros_like(positive)
    new[:, 1:] = (scores[:, 1:] != scores[:, :-1]) | (positive[:, 1:] != positive[:, :-1])
    group = new.cumsum(-1)
    total = torch.zeros_like(gradient).scatter_add_(-1, group, gradient)
    size = torch.zeros_like(gradient).scatter_add_(-1, group, torch.ones_like(gradient))
    return (total / size.clamp_min(1.0)).gather(-1, group)


def _sorted_order(scores: Tensor, positive: Tensor) -> Tensor:
    """Sorts descending by score; equal scores by label, so that equal entries are interchangeable."""
    by_label = positive.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
    by_score = scores.gather(-1, by_label).argsort(dim=-1, descending=True, stable=True)
    return by_label.gather(-1, by_score)


def _list_key(lists: Lists, counted: Tensor, seed: int) -> Tensor:
    """A number ``[lists]`` int64 made of the seed and the bits of the scores, whatever their order."""
    scores = lists.exact_scores + 0.0  # -0.0 equals 0.0, and so must its bits
    bits = scores.contiguous().view(torch.int64 if scores.dtype == torch.float64 else torch.int32)
    return _mix((_mix(bits.to(torch.int64)) * counted).sum(-1) + _step(seed))


def _gumbel(key: Tensor, sample: int, like: Tensor) -> Tensor:
    """Standard Gumbel noise ``[lists, n]`` that depends on the key, the sample and the place alone."""
    place = torch.arange(like.shape[-1], device=like.device)
    bits = _mix(_mix(key[:, None] + _step(sample)) + place)
    uniform = ((bits >> 11 & (1 << 53) - 1).to(like.dtype) + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed number: steps of a Weyl sequence


def _step(number: int) -> int:
    """The number's place in the sequence, wrapped into a signed 64-bit integer."""
    return (number * _GOLDEN + 2**63) % 2**64 - 2**63


def _mix(values: Tensor) -> Tensor:
    """Scrambles int64 so that close numbers become unrelated ones.

    Reference:
        Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014 (the finaliser of SplitMix).
    """
    values = values + _GOLDEN
    values = (values ^ (values >> 30 & (1 << 34) - 1)) * -4658895280553007687
    values = (values ^ (values >> 27 & (1 << 37) - 1)) * -7723592293110705685
    return values ^ (values >> 31 & (1 << 33) - 1)
