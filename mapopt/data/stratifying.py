"""Divides groups of images so that every set gets its fraction of every class, the rare ones first.

Classes are served from the rarest to the most frequent: each group with the class goes to the set that still lacks most
objects of it. A class that lies in as many groups as there are sets, or more, comes into every set.

Reference: K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011. Here
labels are counted (objects, not images), groups stay together, and no set goes without a class that can be in all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratify(
    counts: NDArray[np.int64], sizes: NDArray[np.int64], fractions: Sequence[float], *, seed: int
) -> NDArray[np.int64]:
    """Returns the set of every group, ``[G]`` from 0 to the number of sets - 1.

    Args:
        counts: ``[G, K]`` objects of each class in each group.
        sizes: ``[G]`` images in each group.
        fractions: of the whole that each set should get, positive, with the sum 1.
        seed: decides between groups that are alike.

    >>> sets = stratify(np.array([[2, 0], [2, 0], [2, 1], [2, 1]]), np.ones(4, int), (0.5, 0.5), seed=0)
    >>> sorted(sets[:2].tolist()), sorted(sets[2:].tolist())
    ([0, 1], [0, 1])
    """
    generator = np.random.default_rng([seed, 0x5EED, 4])
    groups, classes = counts.shape
    parts = len(fractions)
    wanted = np.array(fractions, dtype=np.float64)
    # Images count as one more class, which every group has.
    table = np.concatenate([counts, sizes[:, None]], axis=1).astype(np.float64)
    need = wanted[:, None] * table.sum(axis=0)
    total = np.maximum(table.sum(axis=0), 1)
    part_of = np.full(groups, -1, dtype=np.int64)
    shuffled = generator.permutation(groups)
    for kind in _rarest_first(table, classes):
        own = shuffled[(table[shuffled, kind] > 0)]
        # The largest first, while there is room to even out what they bring.
        own = own[np.argsort(-table[own, kind], kind="stable")]
        has = np.array([(table[part_of == part, kind] > 0).any() for part in range(parts)])
        own = own[part_of[own] < 0]
        for place, group in enumerate(own):
            lacking = np.flatnonzero(~has)
            choices = lacking if len(lacking) >= len(own) - place > 0 and len(lacking) else np.arange(parts)
            # Half of what comes is taken off first, as in Sainte-Lague's way to divide seats, which favors no size.
            gap = (need[choices, kind] - table[group, kind] / 2) / (wanted[choices] * total[kind])
            images = (need[choices, -1] - table[group, -1] / 2) / (wanted[choices] * total[-1])
            best = choices[np.lexsort((-wanted[choices], -images.round(9), -gap.round(9)))[0]]
            part_of[group] = best
            has[best] = True
            need[best] -= table[group]
    return part_of


def _rarest_first(table: NDArray[np.float64], classes: int) -> list[int]:
    """Returns the classes in the order of the groups that they are in, and images at the end."""
    present = (table[:, :classes] > 0).sum(axis=0)
    return [*(kind for kind in np.argsort(present, kind="stable").tolist() if present[kind]), classes]
