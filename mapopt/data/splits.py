"""Holds the three sets of one task: train, val (which rewards, selects and stops) and test (read once, at the end).

The three are checked against each other when they are put together, because a shared image or another list of
categories makes every number that follows wrong without a sign of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapopt.data.images import ImageSet
from mapopt.errors import DataError


@dataclass(frozen=True, eq=False)
class Splits:
    """Train, val and test images with the same categories and no image in common.

    Attributes:
        train: what the detector learns from.
        val: what rewards, selects and stops.
        test: read once, for the published number.
        note: what a reader of the results should know about how the sets came about; often empty.

    Raises:
        DataError: categories or sizes differ, an image is in two sets, or a set has no object.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    note: str = ""

    def __post_init__(self) -> None:
        for name, images in self.named():
            if not images.annotations.counts.sum():
                raise DataError(
                    f"the {name} set has {len(images)} images but no object to find. "
                    "Check its annotations, or choose other images."
                )
        for name, images in self.named()[1:]:
            _check_same_categories(self.train, images, name)
            if images.size != self.train.size:
                raise DataError(
                    f"the {name} set is at {images.size} pixels, the train set at {self.train.size}. Use one size."
                )
        _check_disjoint(self.named())

    def named(self) -> tuple[tuple[str, ImageSet], ...]:
        """Returns the three sets with their names, in the order train, val, test."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


def divide(positions: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions 0 to ``positions - 1`` in two halves drawn by a seed, each in rising order.

    >>> divide(5, seed=0)
    (array([1, 4]), array([0, 2, 3]))
    """
    order = np.random.default_rng([seed, 0x5EED]).permutation(positions)
    return np.sort(order[: positions // 2]), np.sort(order[positions // 2 :])


def _check_same_categories(train: ImageSet, other: ImageSet, name: str) -> None:
    ours, theirs = (
        dict(zip(images.annotations.category_ids.tolist(), images.annotations.category_names, strict=True))
        for images in (train, other)
    )
    if list(ours.items()) == list(theirs.items()):
        return
    differing = sorted(set(ours.items()) ^ set(theirs.items()))
    fault = (
        f"they differ in {', '.join(f'{text} (id {number})' for number, text in differing[:4])}"
        if differing
        else "they are the same but in another order"
    )
    raise DataError(
        f"the categories of the train and {name} sets are not the same: {fault}. "
        "Give every split the same list of categories, with the same ids in the same order."
    )


def _check_disjoint(named: tuple[tuple[str, ImageSet], ...]) -> None:
    # Files are distinguished by path, images in memory by pixels; a mixture only by pixels.
    by_path = all(images.annotations.root is not None for _, images in named)
    seen: dict[str, str] = {}
    for name, images in named:
        for identity, file_name in zip(images.identities(by_path=by_path), images.annotations.file_names, strict=True):
            if seen.setdefault(identity, name) != name:
                raise DataError(
                    f"image '{file_name}' is in the {seen[identity]} and in the {name} set. "
                    "Results would flatter the detector: remove it from one of them."
                )
