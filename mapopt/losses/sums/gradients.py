"""How a ranking becomes a gradient: the published error-driven update, or the true derivative of the soft ranks.

Both reach the scores through a `Ranking`. The error-driven update is no gradient of anything: a positive is pushed up
by its error, and the negatives above it are pushed down in proportion to how far they are above. The loss value only
carries it into autograd.

Reference:
    Chen, Li, Lin, See, Wang, Duan, Chen, He, Zou, "Towards Accurate One-Stage Object Detection with AP-Loss",
    CVPR 2019, section 3.3 (error-driven update). Differs: every component honours its own upstream gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.losses.sums.dominance import WrongPairs
from mapopt.losses.sums.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component of a loss together with its update.

    Attributes:
        value: ``[lists]``.
        positives: the update of each positive's score ``[lists, P]``, 0 for padding.
        negatives: ``[lists, P]``; a negative's update is the sum of these over the positives, weighted by H. None
            where no negative is moved.
    """

    value: Tensor
    positives: Tensor
    negatives: Tensor | None


def error_driven(ranking: Ranking, *components: Component) -> tuple[Tensor, ...]:
    """Returns the components' values ``[lists]``, differentiable with respect to the scores by their updates."""
    return _ErrorDriven.apply(ranking.lists.scores, ranking, components)


def soft_ranks(ranking: Ranking) -> tuple[Tensor, Tensor]:
    """Returns, with their true gradient, how many positives and how many negatives are above each positive.

    Both are ``[lists, P]`` sums of H; the positive itself counts H(0) = 1/2 among the positives.
    """
    return positive_mass(ranking, ranking.table.present), _NegativeMass.apply(ranking.lists.scores, ranking)


def negative_mass(ranking: Ranking) -> Tensor:
    """Returns, with its true gradient, how many negatives are above each positive, ``[lists, P]``."""
    return _NegativeMass.apply(ranking.lists.scores, ranking)


def positive_mass(ranking: Ranking, weights: Tensor) -> Tensor:
    """Returns the weights of the positives above each positive, by H, with their true gradient.

    Args:
        ranking: the lists.
        weights: of the positives ``[lists, P]``, 0 for padding; they may carry a gradient too.

    Returns:
        ``[lists, P]``; the positive itself is among them with H(0) of its weight.
    """
    return _PositiveMass.apply(ranking.lists.scores, weights, ranking)


def wrong_mass(ranking: Ranking, pairs: WrongPairs, weights: Tensor) -> Tensor:
    """Returns the weights of the wrongly sorted positives above each positive, by W, with their true gradient.

    Args:
        ranking: the lists.
        pairs: the wrongly sorted pairs of positives.
        weights: of the positives ``[c, lists, P]``, 0 for padding, without gradient.

    Returns:
        ``[c, lists, P]``.
    """
    return _WrongMass.apply(ranking.lists.scores, ranking, pairs, weights)


class _ErrorDriven(torch.autograd.Function):
    """Carries updates that were computed beside the value into the backward pass."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, ranking: Ranking, components: tuple[Component, ...]) -> tuple[Tensor, ...]:
        ctx.ranking, ctx.type = ranking, scores.dtype
        ctx.updates = [(component.positives, component.negatives) for component in components]
        return tuple(component.value for component in components)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        columns = [gradient[:, None] for gradient in upstream]
        ranking, (moves, spreads) = ctx.ranking, zip(*ctx.updates, strict=True)
        positives, negatives = _weighted(columns, moves), _weighted(columns, spreads)
        gradient = ranking.to_lists(ranking.sums.spread(ranking.negatives, negatives))
        return ranking.table.put(gradient, positives).to(ctx.type), None, None


def _weighted(columns: Sequence[Tensor], updates: Sequence[Tensor | None]) -> Tensor:
    """Sums the updates ``[lists, P]`` that there are, each times its column ``[lists, 1]``."""
    parts = (column * part for column, part in zip(columns, updates, strict=True) if part is not None)
    return functools.reduce(torch.add, parts)


class _NegativeMass(torch.autograd.Function):
    """Sums of H over negatives, and their derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, ranking: Ranking) -> Tensor:
        ctx.ranking, ctx.type = ranking, scores.dtype
        return ranking.sums.mass(ranking.negatives)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        ranking = ctx.ranking
        upstream = upstream * ranking.table.present
        gradient = ranking.to_lists(ranking.sums.spread_density(ranking.negatives, upstream))
        moved = -upstream * ranking.sums.density(ranking.negatives)
        return ranking.table.put(gradient, moved).to(ctx.type), None


class _PositiveMass(torch.autograd.Function):
    """Sums of H over weighted positives, and their derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, weights: Tensor, ranking: Ranking) -> Tensor:
        ctx.ranking, ctx.like = ranking, scores.detach()
        ctx.save_for_backward(weights)
        return ranking.sums.mass(ranking.positives, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None]:
        ranking, (weights,) = ctx.ranking, ctx.saved_tensors
        sums, present = ranking.sums, ranking.table.present
        upstream = upstream * present
        # A positive moves as the one that is above another, and as the one whose rank it is.
        moved = weights * sums.spread_density(ranking.positives, upstream)
        moved -= upstream * sums.density(ranking.positives, weights)
        to_weights = sums.spread(ranking.positives, upstream) * present if ctx.needs_input_grad[1] else None
        return _to_positives(ranking, moved, ctx.like), to_weights, None


class _WrongMass(torch.autograd.Function):
    """Sums of W over weighted positives, and their derivative."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, ranking: Ranking, pairs: WrongPairs, weights: Tensor) -> Tensor:
        ctx.ranking, ctx.pairs, ctx.weights, ctx.like = ranking, pairs, weights, scores.detach()
        return pairs.above(weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        upstream = upstream * ctx.ranking.table.present
        moved = (ctx.weights * ctx.pairs.below_density(upstream)).sum(0)
        moved -= (upstream * ctx.pairs.above_density(ctx.weights)).sum(0)
        return _to_positives(ctx.ranking, moved, ctx.like), None, None, None


def _to_positives(ranking: Ranking, values: Tensor, like: Tensor) -> Tensor:
    """Puts ``[lists, P]`` at the positives' places among zeros ``[lists, n]``."""
    return ranking.table.put(torch.zeros_like(like, dtype=values.dtype), values * ranking.table.present).to(like.dtype)
