"""The families of procedural scenes with one difficulty each: rare classes, small objects, wrong annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mapopt.data.faults import FAULTS, Fault, mislabel
from mapopt.data.shapes_config import check_range
from mapopt.envs.families.base import Instance, boxes_by_class, check_band, check_choice
from mapopt.envs.families.cache import HELD
from mapopt.envs.families.shapes import SceneFamily, draw_splits
from mapopt.errors import ConfigError

if TYPE_CHECKING:
    from mapopt.data import Splits

_SMALLEST_OBJECT = 4.0
"""The scenes draw nothing smaller, in pixels."""


@dataclass(frozen=True, kw_only=True)
class ImbalancedFamily(SceneFamily):
    """Procedural scenes with rare classes: the first is a drawn factor as frequent as the last, in all three splits.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(ImbalancedFamily(images=(64, 16, 16)).instance(0))  # doctest: +NORMALIZE_WHITESPACE
    imbalanced-train-0: the first of 3 classes 12.9 times as frequent as the last:
    139 disc, 35 box, 9 triangle, 64 train images
    """

    factor: tuple[float, float] = (5.0, 50.0)
    """Smallest and largest factor between first and last class, 1 to 100; drawn evenly on a logarithmic scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band("factor", self.factor, 1, 100)
        self._leaves("imbalance", "factor")
        if self.scenes.classes < 2:
            raise ConfigError("scenes of 1 class cannot be imbalanced: expected scenes.classes of 2 or more")

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        factor = _draw(self.factor, self.seed_of(number))
        splits = self.draw(replace(self.scenes, imbalance=factor), number)
        special = (
            f"the first of {self.scenes.classes} classes {factor:.1f} times as frequent as the last: "
            f"{boxes_by_class(splits.train.annotations)}"
        )
        return self.make_instance("imbalanced", number, splits, special)


@dataclass(frozen=True, kw_only=True)
class SmallObjectsFamily(SceneFamily):
    """Procedural scenes of small objects: their largest size is drawn from the lower end.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(SmallObjectsFamily(images=(64, 16, 16)).instance(0))  # doctest: +NORMALIZE_WHITESPACE
    small-objects-train-0: 3 classes of 4 to 8.5 of 48 pixels,
    93% of 205 objects under 8 pixels, 64 train images
    """

    largest: tuple[float, float] = (6.0, 14.0)
    """Between these is the longer side of an instance's largest objects, in pixels; its smallest have 4."""
    under: float = 8.0
    """The description gives the fraction of objects under so many pixels; 8 is the tiny detector's stride."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band("largest", self.largest, _SMALLEST_OBJECT, self.scenes.size)
        self._leaves("object_size", "largest")
        check_range("under", self.under, 1, self.scenes.size)

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        largest = _draw(self.largest, self.seed_of(number))
        splits = self.draw(replace(self.scenes, object_size=(_SMALLEST_OBJECT, largest)), number)
        boxes = splits.train.annotations.boxes
        fraction = float(((boxes[:, 2:] - boxes[:, :2]).max(axis=1) < self.under).mean())
        special = (
            f"{self.scenes.classes} classes of {_SMALLEST_OBJECT:g} to {largest:.1f} of "
            f"{self.scenes.size} pixels, {fraction:.0%} of {len(boxes)} objects under {self.under:g} pixels"
        )
        return self.make_instance("small-objects", number, splits, special)


@dataclass(frozen=True, kw_only=True)
class NoisyLabelsFamily(SceneFamily):
    """Procedural scenes whose train annotations are partly wrong; the val and test splits stay clean.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(NoisyLabelsFamily(images=(64, 16, 16)).instance(0))  # doctest: +NORMALIZE_WHITESPACE
    noisy-labels-train-0: 51 of 192 train boxes wrong on purpose (13 missing, 13 shifted, 13 swapped, 12 spurious),
    val and test clean, 64 train images
    """

    fraction: tuple[float, float] = (0.1, 0.5)
    """Smallest and largest number of faults per object."""
    faults: tuple[Fault, ...] = FAULTS
    """What goes wrong, each as often: missing, shifted, swapped or spurious boxes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band("fraction", self.fraction, 0, 1)
        self._leaves("label_noise", "fraction")
        check_choice("faults", self.faults, FAULTS)
        object.__setattr__(self, "faults", tuple(self.faults))
        if "swapped" in self.faults and self.scenes.classes < 2:
            raise ConfigError("faults has 'swapped', but scenes of 1 class have none to swap with: leave it out")

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        seed = self.seed_of(number)
        fraction = float(np.random.default_rng(seed).uniform(*self.fraction))
        key = (NoisyLabelsFamily, self.scenes, seed, self.images, fraction, self.faults)
        splits = HELD.get(key, lambda: self._draw_noisy(seed, fraction))
        return self.make_instance("noisy-labels", number, splits, splits.note)

    def _draw_noisy(self, seed: int, fraction: float) -> Splits:
        """Returns splits whose train annotations are partly wrong, with a note that says how."""
        clean = draw_splits(self.scenes, seed, self.images)
        correct = clean.train.annotations
        noted, counts = mislabel(correct, fraction=fraction, faults=self.faults, seed=seed)
        kinds = ", ".join(f"{count} {fault}" for fault, count in counts.items())
        note = (
            f"{sum(counts.values())} of {len(correct.ids)} train boxes wrong on purpose ({kinds}), val and test clean"
        )
        return replace(clean, train=replace(clean.train, annotations=noted), note=note)


def _draw(band: tuple[float, float], seed: int) -> float:
    """Returns a number between two, drawn evenly on a logarithmic scale."""
    low, high = band
    return float(np.clip(low * math.exp(np.random.default_rng(seed).uniform() * math.log(high / low)), low, high))
