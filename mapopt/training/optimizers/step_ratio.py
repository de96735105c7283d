"""Steps of a given relative length: the optimizer says where to go, and the knob `step_ratio` how far.

The length of the weights is what the length of a step means something by: the same ratio is the same turn of the
weights, whatever optimizer, loss scale or size of the weights stands behind it. So with it a learning rate has nothing
left to say (of SGD exactly nothing), and one number can be set, scheduled and searched for every optimizer alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError
from mapopt.training.optimizers.base import RowOptimizer


class RatioSteps:
    """Takes an optimizer's steps with their lengths set: ``|step| = step_ratio x |weights before it|``.

    A step is everything that the optimizer does to the weights, its weight decay included. What would need a length out
    of nothing is left as the optimizer has it: weights of length 0, which a ratio could never move, and steps of
    length 0. Lanes whose knob is 0 keep every bit.

    Of an optimizer whose weights only follow another point (schedule_free_adamw trains between its z and its average)
    the step is that point's, and the weights follow it as they always do: it has ``leader(weights) -> Tensor``, and
    ``follow(weights, offset, knobs)``, which moves whatever follows. An optimizer that keeps an average of the weights
    has ``follow`` alone.

    Args:
        optimizer: whose steps.
        parts: name -> shape of what a row is cut into, in order, where every layer has a length of its own: then a
            tensor with two dimensions or more is a layer, and all of one dimension (norms and biases, many of which
            begin at 0) are one layer together. None for the whole lane.

    Reference: J. Bernstein et al., "On the distance between two neural networks and the stability of learning",
    NeurIPS 2020, algorithm 1, whose steps have this length by layer; Y. You et al., "Large Batch Training of
    Convolutional Networks", arXiv:1708.03888, equation 6, which multiplies a learning rate with it.
    """

    def __init__(self, optimizer: RowOptimizer, parts: Mapping[str, tuple[int, ...]] | None = None) -> None:
        self._optimizer = optimizer
        self._layers = None if parts is None else _layers(parts)

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes, and returns the length of each lane's step; see `RowOptimizer.update`.

        Raises:
            ConfigError: the optimizer evaluates an average of its own, and has no ``follow``.
        """
        optimizer = self._optimizer
        if hasattr(optimizer, "evaluated") and not hasattr(optimizer, "follow"):
            raise ConfigError(
                f"step_ratio is above 0 with optimizer '{type(optimizer).__name__}', which evaluates an average that "
                "would not follow: give it a method follow(weights, offset, knobs), or leave step_ratio at 0"
            )
        leader = optimizer.leader(weights) if hasattr(optimizer, "leader") else weights
        before, weights_before = leader.clone(), weights.clone()
        moved = optimizer.update(weights, gradient, knobs, active)
        step = leader - before
        factors = self._factors(before, step, knobs["step_ratio"])
        scaled = factors != 1
        reached = torch.where(scaled, before + factors * step, leader)
        offset = reached - leader
        leader.copy_(reached)
        if hasattr(optimizer, "follow"):
            optimizer.follow(weights, offset, knobs)
        return torch.where(scaled.any(dim=1), (weights - weights_before).norm(dim=1), moved)

    def _factors(self, before: Tensor, step: Tensor, ratio: Tensor) -> Tensor:
        """Returns what every number's step is multiplied with, ``[lanes, n]`` or ``[lanes, 1]``; 1 to leave it."""
        if self._layers is None:
            return _factor(before, step, ratio)
        factors = torch.ones_like(step)
        for spans in self._layers:
            lengths, steps = (_length([matrix[:, begin:end] for begin, end in spans]) for matrix in (before, step))
            factor = _of_lengths(lengths, steps, ratio)
            for begin, end in spans:
                factors[:, begin:end] = factor
        return factors


def _factor(before: Tensor, step: Tensor, ratio: Tensor) -> Tensor:
    return _of_lengths(_length([before]), _length([step]), ratio)


def _length(pieces: Sequence[Tensor]) -> Tensor:
    """Returns the length of the rows of some columns together, ``[lanes, 1]``."""
    squares = [piece.norm(dim=1, keepdim=True).double().square() for piece in pieces]
    return torch.stack(squares).sum(0).sqrt()


def _of_lengths(weights: Tensor, steps: Tensor, ratio: Tensor) -> Tensor:
    counts = (ratio[:, None] > 0) & (weights > 0) & (steps > 0)
    factor = ratio[:, None].double() * weights / torch.where(steps > 0, steps, 1.0)
    return torch.where(counts, factor, 1.0).to(ratio.dtype)


def _layers(parts: Mapping[str, tuple[int, ...]]) -> list[list[tuple[int, int]]]:
    """Returns the first and last columns of every layer."""
    layers: list[list[tuple[int, int]]] = []
    vectors: list[tuple[int, int]] = []
    begin = 0
    for shape in parts.values():
        end = begin + math.prod(shape)
        if len(shape) > 1:
            layers.append([(begin, end)])
        else:
            vectors.append((begin, end))
        begin = end
    return layers + ([vectors] if vectors else [])
