"""Sums over all pairs of a positive and a score for curves that no bins can make exact, such as the sigmoid.

Time grows with P x N, but memory does not: pairs are made block by block, and made again on the way back. Losses
built on this are for lists of moderate length; `Bins` is for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.losses.sums.evenly import evenly
from mapopt.losses.sums.lists import accumulation_type

_BLOCK = 250_000  # pairs held at once: about what a processor's cache holds

PairWeights = Callable[[slice], Tensor]


@dataclass(frozen=True)
class Curve:
    """A function of the difference between a score and a positive's score, 0 at minus infinity.

    Attributes:
        value: the function, elementwise on ``[lists, p, m]``.
        slope: its derivative.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def sigmoid_curve(temperature: float | Tensor) -> Curve:
    """Returns sigmoid(x / temperature); the temperature is a number or ``[lists, 1]``."""
    scale = _per_pair(temperature)

    def value(difference: Tensor) -> Tensor:
        return evenly(torch.sigmoid, difference / scale)

    def slope(difference: Tensor) -> Tensor:
        result = evenly(torch.sigmoid, difference / scale)
        return result.mul_(1.0 - result).div_(scale)

    return Curve(value, slope)


def softplus_curve(temperature: float | Tensor) -> Curve:
    """Returns log(1 + exp(x / temperature)); the temperature is a number or ``[lists, 1]``."""
    scale = _per_pair(temperature)

    def value(difference: Tensor) -> Tensor:
        # Beyond 40 the straight line is the same number in float64; torch's own limit of 20 is only so in float32.
        return evenly(lambda values: torch.nn.functional.softplus(values, threshold=40.0), difference / scale)

    def slope(difference: Tensor) -> Tensor:
        return evenly(torch.sigmoid, difference / scale).div_(scale)

    return Curve(value, slope)


def windowed(curve: Curve, lowest: float | Tensor) -> Curve:
    """Returns the curve, and 0 where the difference is at most ``lowest``, a number or ``[lists, 1]``."""
    limit = _per_pair(lowest)

    def cut(difference: Tensor) -> Tensor:
        if isinstance(limit, Tensor):
            return torch.where(difference > limit, difference, -torch.inf)
        return torch.nn.functional.threshold(difference, limit, -torch.inf, inplace=True)

    return Curve(lambda difference: curve.value(cut(difference)), lambda difference: curve.slope(cut(difference)))


def pair_sums(scores: Tensor, thresholds: Tensor, curve: Curve, weights: PairWeights | None = None) -> Tensor:
    """Returns sum_j w_ij curve(s_j - t_i), differentiable with respect to scores and thresholds.

    Args:
        scores: ``[lists, m]``; minus infinity takes part in nothing.
        thresholds: the positives' scores, ``[lists, P]``, finite.
        curve: the function of the difference.
        weights: gives w for some of the positives, ``[lists, p, m]``; 1 if left out.

    Returns:
        ``[lists, P]`` in the accumulation type.
    """
    return _PairSums.apply(scores, thresholds, curve, weights)


class _PairSums(torch.autograd.Function):
    """Makes the pairs block by block, forward and again backward."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, thresholds: Tensor, curve: Curve, weights: PairWeights | None) -> Tensor:
        ctx.save_for_backward(scores, thresholds)
        ctx.curve, ctx.weights = curve, weights
        sums = thresholds.new_zeros(thresholds.shape, dtype=accumulation_type(scores.device))
        for part in _parts(scores, thresholds):
            values = curve.value(_differences(scores, thresholds, part))
            if weights is not None:
                values *= weights(part)
            sums[:, part] = values.sum(-1, dtype=sums.dtype)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        scores, thresholds = ctx.saved_tensors
        to_scores = torch.zeros_like(scores, dtype=upstream.dtype)
        to_thresholds = torch.zeros_like(upstream)
        for part in _parts(scores, thresholds):
            slopes = ctx.curve.slope(_differences(scores, thresholds, part))
            if ctx.weights is not None:
                slopes *= ctx.weights(part)
            to_thresholds[:, part] = -upstream[:, part] * slopes.sum(-1, dtype=upstream.dtype)
            to_scores += (slopes * upstream[:, part, None].to(slopes.dtype)).sum(1, dtype=upstream.dtype)
        return to_scores.to(scores.dtype), to_thresholds.to(thresholds.dtype), None, None


def _parts(scores: Tensor, thresholds: Tensor) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, scores.numel()))
    for start in range(0, thresholds.shape[-1], size):
        yield slice(start, min(start + size, thresholds.shape[-1]))


def _differences(scores: Tensor, thresholds: Tensor, part: slice) -> Tensor:
    return scores[:, None, :] - thresholds[:, part, None]


def _per_pair(parameter: float | Tensor) -> float | Tensor:
    """Makes a column ``[lists, 1]`` fit ``[lists, p, m]``."""
    return parameter[..., None] if isinstance(parameter, Tensor) else parameter
