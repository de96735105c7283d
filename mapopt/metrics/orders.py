"""Stable orders of whole numbers and scores, by sorting words: numpy does that with vector instructions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stable_order(keys: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
    """Returns the stable order of keys in [0, bound).

    Key and position are packed into one word: numpy sorts words several times faster than it sorts positions.

    >>> stable_order(np.array([2, 0, 2, 1]), 3).tolist()
    [1, 3, 0, 2]
    """
    position_bits = max(len(keys) - 1, 0).bit_length()
    if bound.bit_length() + position_bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys << position_bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << position_bits) - 1
    return packed


def order_by_class_and_score(classes: NDArray[np.int64], scores: NDArray[np.float64], bound: int) -> NDArray[np.int64]:
    """Returns the stable order by class in [0, bound), then falling score.

    >>> order_by_class_and_score(np.array([1, 0, 0]), np.array([0.5, 0.1, 0.9]), 2).tolist()
    [2, 1, 0]
    """
    single = scores.astype(np.float32)
    position_bits = max(len(scores) - 1, 0).bit_length()
    if bound.bit_length() + 32 + position_bits <= 63 and np.array_equal(single, scores):
        # Detectors score in float32, and its bit pattern sorts as an integer once negative numbers are flipped.
        single += np.float32(0)  # turns -0 into 0: they are equal
        rising = single.view(np.int32).astype(np.int64)
        if len(rising) and rising.min() < 0:
            rising = np.where(rising < 0, -1 - (rising & 0x7FFFFFFF), rising)
        packed = classes << 32
        packed += (1 << 31) - 1
        packed -= rising
        packed <<= position_bits
        packed |= np.arange(len(scores))
        packed.sort()
        packed &= (1 << position_bits) - 1
        return packed
    order = np.argsort(-scores, kind="stable")
    return order[stable_order(classes[order], bound)]
