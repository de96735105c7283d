"""The family whose data change in mid-run: other images, cleaned labels, or another balance of the classes.

The val and test splits are of the data after the change, in the whole run, so that the gains of val AP add up and what
counts is how good a detector is where it is going.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mapopt.data.faults import FAULTS, mislabel
from mapopt.data.shapes_config import check_range
from mapopt.envs.families.base import Instance, Shift, check_band, check_choice
from mapopt.envs.families.cache import HELD
from mapopt.envs.families.shapes import SceneFamily, ShapesFamily
from mapopt.errors import ConfigError

if TYPE_CHECKING:
    from mapopt.data import ImageSet, Splits

SHIFTS = ("new-images", "cleaned-labels", "class-balance")
"""What may change."""

_START = 1 << 29
"""Number of the first of the scenes that only come before a change; train, val and test begin elsewhere."""

_STREAM = 0x5F1F7
"""Keeps the draw of the change apart from the draws of the data."""


@dataclass(frozen=True, kw_only=True)
class ShiftFamily(SceneFamily):
    """Procedural scenes whose train images change after a drawn fraction of the budget; val and test are as after it.

    ``new-images``: scenes of other color, clutter, occlusion and noise before; ``cleaned-labels``: the same images with
    partly wrong annotations; ``class-balance``: other images in which the first class is the more frequent.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(ShiftFamily(images=(64, 16, 16)).instance(1))
    shift-train-1: cleaned-labels after 0.53 of the budget, 61 of 211 train boxes wrong before, 64 train images
    """

    shifts: tuple[str, ...] = SHIFTS
    """What changes, in turn: new-images, cleaned-labels, class-balance."""
    at: tuple[float, float] = (0.25, 0.75)
    """Smallest and largest fraction of the budget after which it does; a change comes between two rounds."""
    distance: float = 1.0
    """Of new-images: how far the scenes before may be from those after, 0 to 1."""
    fraction: tuple[float, float] = (0.2, 0.5)
    """Of cleaned-labels: smallest and largest number of faults per object before."""
    factor: tuple[float, float] = (5.0, 50.0)
    """Of class-balance: smallest and largest factor between first and last class before, 1 to 100; drawn evenly on a
    logarithmic scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("shifts", self.shifts, SHIFTS)
        object.__setattr__(self, "shifts", tuple(self.shifts))
        check_band("at", self.at, 0, 1)
        check_band("fraction", self.fraction, 0, 1)
        check_band("factor", self.factor, 1, 100)
        check_range("distance", self.distance, 0, 1)
        self._leaves("label_noise", "fraction")
        if self.scenes.classes < 2:
            raise ConfigError(
                "scenes of 1 class have no balance, and none to swap: expected scenes.classes of 2 or more"
            )

    def shift_of(self, number: int) -> str:
        """Returns what changes in an instance, a name in `SHIFTS`."""
        self.seed_of(number)
        return self.shifts[int(number) % len(self.shifts)]

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        kind, seed = self.shift_of(number), self.seed_of(number)
        generator = np.random.default_rng([seed, _STREAM])
        fraction, drawn = float(generator.uniform(*self.at)), float(generator.uniform())
        later = self.draw(self.scenes, number)
        key = (ShiftFamily, self.scenes, seed, self.images, kind, drawn, self.distance, self.fraction, self.factor)
        splits = HELD.get(key, lambda: self._before(kind, seed, drawn, later))
        special = f"{kind} after {fraction:.2f} of the budget, {splits.note}"
        return self.make_instance("shift", number, splits, special, shift=Shift(fraction=fraction, train=later.train))

    def _before(self, kind: str, seed: int, drawn: float, later: Splits) -> Splits:
        """Returns the splits before a change, with a note of what is other in them than after it."""
        if kind == "cleaned-labels":
            clean, (low, high) = later.train.annotations, self.fraction
            noted, counts = mislabel(clean, fraction=low + drawn * (high - low), faults=FAULTS, seed=seed)
            note = f"{sum(counts.values())} of {len(clean.ids)} train boxes wrong before"
            return replace(later, train=replace(later.train, annotations=noted), note=note)
        if kind == "class-balance":
            low, high = self.factor
            factor = low * math.exp(drawn * math.log(high / low))
            note = f"the first of {self.scenes.classes} classes {factor:.1f} times as frequent as the last before"
            return replace(later, train=self._scenes(seed, imbalance=factor), note=note)
        other = ShapesFamily(variety=self.distance, scenes=self.scenes).scenes_of(np.random.default_rng(seed))
        moved = {name: getattr(other, name) for name in ("color", "clutter", "occlusion", "noise")}
        note = ", ".join(
            f"{name} {value:.2g} instead of {getattr(self.scenes, name):.2g}" for name, value in moved.items()
        )
        return replace(later, train=self._scenes(seed, **moved), note=f"before {note}")

    def _scenes(self, seed: int, **changes: float) -> ImageSet:
        """Returns train images of scenes with some other parameters, none of which comes after a change."""
        from mapopt.data import make_shapes

        scenes = replace(self.scenes, **changes)  # type: ignore[arg-type]
        return make_shapes(scenes, seed=seed, count=self.images[0], start=_START)
