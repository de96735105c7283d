"""The draw of combinations of optimizer, loss, batch and size: balanced, and divided between the two splits."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

_STREAM = 0x2EC1


class Combination(NamedTuple):
    """What the recipe and the scenes of some instances have in common."""

    optimizer: str
    loss: str
    batch: int
    size: int


@lru_cache(maxsize=64)
def combinations_of(
    optimizers: tuple[str, ...], losses: tuple[str, ...], batches: tuple[int, ...], sizes: tuple[int, ...], seed: int
) -> tuple[tuple[Combination, ...], tuple[Combination, ...]]:
    """Returns all combinations in a drawn order, half for training agents and half for evaluating them.

    The two sides choose in turn, each the one whose values, and pairs of values, it has least often so far, so that the
    first few of a side are about as balanced as all. An odd one is nobody's.

    >>> train, evaluation = combinations_of(("sgd", "adamw"), ("focal", "mean_ap"), (16,), (32, 48), 0)
    >>> len(train), len(evaluation), len({*train, *evaluation}), len({each.loss for each in train[:2]})
    (4, 4, 8, 2)
    """
    every = [Combination(*values) for values in product(optimizers, losses, batches, sizes)]
    order = np.random.default_rng([seed, _STREAM]).permutation(len(every))
    left = [every[position] for position in order]
    sides: tuple[list[Combination], list[Combination]] = ([], [])
    for turn in range(len(every) // 2 * 2):
        side = sides[turn % 2]
        had = Counter(part for each in side for part in _parts(each))
        counts = [sum(had[part] for part in _parts(each)) for each in left]
        best = left[counts.index(min(counts))]
        side.append(best)
        left.remove(best)
    return tuple(sides[0]), tuple(sides[1])


def _parts(combination: Combination) -> list[tuple[object, ...]]:
    """Returns the values of a combination, which count twice, and their pairs, each with its place."""
    values = list(enumerate(combination))
    return [(value,) for value in values] * 2 + list(combinations(values, 2))
