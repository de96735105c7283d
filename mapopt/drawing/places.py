"""Moves labels apart that would lie on each other, each as little as it must."""

from __future__ import annotations

import math
from collections.abc import Sequence


def spread_apart(places: Sequence[float], gap: float, *, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Moves places apart to at least `gap`: least squares by pooling neighbors, then into the limits.

    Args:
        places: in any order.
        gap: smallest distance between two of them.
        low: where the lowest may be.
        high: where the highest may be; where there is no room for all, they go beyond it.

    >>> [round(place, 3) for place in spread_apart([0.5, 0.5, 0.1], 0.1)]
    [0.45, 0.55, 0.1]
    """
    order = sorted(range(len(places)), key=lambda position: places[position])
    blocks: list[list[float]] = []  # wanted places of neighbors that touch, each less its own offset
    for rank, position in enumerate(order):
        blocks.append([places[position] - gap * rank])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    level = [sum(block) / len(block) for block in blocks for _ in block]
    highest = max(high - gap * (len(places) - 1), low)
    moved = [0.0] * len(places)
    for rank, position in enumerate(order):
        moved[position] = min(max(level[rank], low), highest) + gap * rank
    return moved
