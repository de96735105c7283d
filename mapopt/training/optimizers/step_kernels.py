"""Compiled steps of optimizers on a piece of a long row: every number is read and written once.

The operations are those of `mapopt.training.optimizers.sgd` and `mapopt.training.optimizers.adamw`, in their order.
torch fuses some products with sums, and its roots are off by a last bit, so the numbers are the same within rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_Floats = NDArray[np.float32]


@compiled
def sgd(
    weights: _Floats,
    gradient: _Floats,
    velocity: _Floats,
    decays: _Floats,
    moved: _Floats,
    numbers: _Floats,
) -> None:
    """Takes a step of SGD with momentum.

    Args:
        weights: ``[n]``, changed.
        gradient: ``[n]``.
        velocity: ``[n]``, changed.
        decays: ``[n]``, 1 where weight decay applies.
        moved: ``[n]``, overwritten by what is subtracted from the weights.
        numbers: learning rate, momentum and weight decay.
    """
    lr, momentum, decay = numbers[0], numbers[1], numbers[2]
    for i in range(weights.size):
        slope = gradient[i] + weights[i] * (decays[i] * decay)
        velocity[i] = velocity[i] * momentum + slope
        moved[i] = velocity[i] * lr
        weights[i] -= moved[i]


@compiled
def adamw(
    weights: _Floats,
    gradient: _Floats,
    first: _Floats,
    second: _Floats,
    decays: _Floats,
    moved: _Floats,
    numbers: _Floats,
) -> None:
    """Takes a step of AdamW.

    Args:
        weights: ``[n]``, changed.
        gradient: ``[n]``.
        first: ``[n]``, changed: means of the gradients.
        second: ``[n]``, changed: means of their squares.
        decays: ``[n]``, 1 where weight decay applies.
        moved: ``[n]``, overwritten by what is subtracted from the weights.
        numbers: learning rate, the first beta and 1 less it, the second one and 1 less it, weight decay, the biases of
            the two means, and epsilon.
    """
    lr, beta, rest, beta2, rest2, decay, bias, bias2, epsilon = numbers
    for i in range(weights.size):
        slope = gradient[i]
        first[i] = first[i] * beta + slope * rest
        second[i] = second[i] * beta2 + slope * slope * rest2
        # np.divide, because a division of Python's looks for a 0 first, one number at a time.
        step = np.divide(np.divide(first[i], bias), np.sqrt(np.divide(second[i], bias2)) + epsilon)
        moved[i] = (step + decays[i] * decay * weights[i]) * lr
        weights[i] -= moved[i]
