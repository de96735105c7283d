"""Compiled steps of optimizers on a long row: every number is read and written once.

The operations are those of `mapopt.training.optimizers.sgd` and `mapopt.training.optimizers.adamw`, in their order.
torch fuses some products with sums, and its roots are off by a last bit, so the numbers are the same within rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_Floats = NDArray[np.float32]


BLOCK = 4096
"""Numbers that are worked on at once: what a step subtracts from them stays in the nearest cache."""


@compiled
def sgd(
    weights: _Floats, gradient: _Floats, velocity: _Floats, decays: _Floats, scratch: _Floats, numbers: _Floats
) -> float:
    """Takes a step of SGD with momentum; returns the sum of the squares of what it subtracts from the weights.

    Args:
        weights: ``[n]``, changed.
        gradient: ``[n]``.
        velocity: ``[n]``, changed.
        decays: ``[n]``, 1 where weight decay applies.
        scratch: ``[BLOCK]``.
        numbers: learning rate, momentum and weight decay.
    """
    lr, momentum, decay = numbers[0], numbers[1], numbers[2]
    total = 0.0
    for start in range(0, weights.size, scratch.size):
        stop = min(start + scratch.size, weights.size)
        moved = scratch[: stop - start]
        own, slopes, speeds, where = weights[start:stop], gradient[start:stop], velocity[start:stop], decays[start:stop]
        for i in range(stop - start):
            slope = slopes[i] + own[i] * (where[i] * decay)
            speeds[i] = speeds[i] * momentum + slope
            moved[i] = speeds[i] * lr
            own[i] -= moved[i]
        total += np.dot(moved, moved)
    return total


@compiled
def adamw(
    weights: _Floats,
    gradient: _Floats,
    first: _Floats,
    second: _Floats,
    decays: _Floats,
    scratch: _Floats,
    numbers: _Floats,
) -> float:
    """Takes a step of AdamW; returns the sum of the squares of what it subtracts from the weights.

    Args:
        weights: ``[n]``, changed.
        gradient: ``[n]``.
        first: ``[n]``, changed: means of the gradients.
        second: ``[n]``, changed: means of their squares.
        decays: ``[n]``, 1 where weight decay applies.
        scratch: ``[BLOCK]``.
        numbers: learning rate, the first beta and 1 less it, the second one and 1 less it, weight decay, the biases of
            the two means, and epsilon.
    """
    lr, beta, rest, beta2, rest2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    decay, bias, bias2, epsilon = numbers[5], numbers[6], numbers[7], numbers[8]
    total = 0.0
    for start in range(0, weights.size, scratch.size):
        stop = min(start + scratch.size, weights.size)
        moved = scratch[: stop - start]
        own, slopes, where = weights[start:stop], gradient[start:stop], decays[start:stop]
        means, squares = first[start:stop], second[start:stop]
        for i in range(stop - start):
            slope = slopes[i]
            means[i] = means[i] * beta + slope * rest
            squares[i] = squares[i] * beta2 + slope * slope * rest2
            # np.divide, because a division of Python's looks for a 0 first, one number at a time.
            step = np.divide(np.divide(means[i], bias), np.sqrt(np.divide(squares[i], bias2)) + epsilon)
            moved[i] = (step + where[i] * decay * own[i]) * lr
            own[i] -= moved[i]
        total += np.dot(moved, moved)
    return total
