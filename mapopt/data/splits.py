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


def divide_in_three(
    positions: int, fractions: tuple[float, float, float], *, seed: int, alike: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the positions 0 to ``positions - 1`` in three parts drawn by a seed, each in rising order.

    Args:
        positions: how many there are, at least three.
        fractions: of the three parts, see `mapopt.data.options.check_fractions`; each gets at least one.
        seed: decides which.
        alike: ``[positions]`` numbers; positions with the same number come into the same part.

    Raises:
        DataError: there are fewer than three to divide.

    >>> divide_in_three(6, (0.5, 0.25, 0.25), seed=0)
    (array([0, 2, 4]), array([1, 3]), array([5]))
    """
    groups = np.arange(positions) if alike is None else np.unique(alike, return_inverse=True)[1]
    count = int(groups.max()) + 1 if positions else 0
    if count < 3:
        raise DataError(
            f"there are {count} different images, which cannot be divided into three sets. Give at least 3."
        )
    order = np.random.default_rng([seed, 0x5EED, 3]).permutation(count)
    sizes = np.bincount(groups)[order]
    middles = (np.cumsum(sizes) - sizes / 2) / positions
    part_of = np.searchsorted(np.cumsum(fractions[:2]), middles)
    # Every part gets at least one.
    part_of[0], part_of[-1] = 0, 2
    if not (part_of == 1).any():
        first = int((part_of == 0).sum())
        part_of[first - 1 if first > 1 else first] = 1
    part = np.empty(count, dtype=np.int64)
    part[order] = part_of
    return tuple(np.flatnonzero(part[groups] == number) for number in range(3))  # type: ignore[return-value]


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
    # Files are distinguished by path first, which names them better; then all by their pixels.
    if all(images.annotations.root is not None for _, images in named):
        _check_identities(named, by_path=True)
    _check_identities(named, by_path=False)


def _check_identities(named: tuple[tuple[str, ImageSet], ...], *, by_path: bool) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name, images in named:
        identities = images.identities(by_path=by_path)
        for row, (identity, file_name) in enumerate(zip(identities, images.annotations.file_names, strict=True)):
            before, other = seen.setdefault(identity, (name, file_name))
            # Empty frames of a camera or tiles of the sea are alike without being the same.
            if before == name or (not by_path and _is_plain(images, row)):
                continue
            fault = (
                f"image '{file_name}' is in the {before} and in the {name} set"
                if by_path or other == file_name
                else f"image '{file_name}' of the {name} set has the same pixels as '{other}' of the {before} set"
            )
            raise DataError(f"{fault}. Results would flatter the detector: remove it from one of them.")


def _is_plain(images: ImageSet, row: int) -> bool:
    """Returns whether an image has a single color, and gray beside it where it is smaller than the frame."""
    scale = float(images.scale[row])
    height, width = int(images.annotations.heights[row] * scale), int(images.annotations.widths[row] * scale)
    inner = images.pixels[row, :, : max(1, height), : max(1, width)].flatten(1)
    return bool((inner == inner[:, :1]).all())
