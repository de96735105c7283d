"""The family of varied difficulty: procedural scenes whose parameters move within a band around a middle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mapopt.data.shapes_config import ShapesConfig, check_range
from mapopt.envs.families.base import Instance, NumberedFamily
from mapopt.envs.families.cache import HELD
from mapopt.errors import ConfigError

if TYPE_CHECKING:
    from mapopt.data import Splits

_BAND = {
    "color": (0.2, 0.3, 1.0),
    "clutter": (1.0, 0.0, 4.0),
    "occlusion": (0.2, 0.0, 0.6),
    "noise": (0.03, 0.0, 0.1),
}
"""How far each parameter moves at full variety, and the limits it keeps to."""


@dataclass(frozen=True, kw_only=True)
class SceneFamily(NumberedFamily):
    """What the families of procedural scenes have in common: every instance has images of its own."""

    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """The parameters of the scenes, but for those that the family draws."""

    def draw(self, scenes: ShapesConfig, number: int) -> Splits:
        """Returns the images of an instance: those of another number, or of the other split, are all different."""
        seed = self.seed_of(number)
        key = (SceneFamily, scenes, seed, self.images)
        return HELD.get(key, lambda: draw_splits(scenes, seed, self.images))

    def _leaves(self, parameter: str, setting: str) -> None:
        """Raises ConfigError where a parameter is given that the family draws by itself."""
        given, default = getattr(self.scenes, parameter), getattr(ShapesConfig(), parameter)
        if given != default:
            raise ConfigError(
                f"scenes.{parameter} is {given}, but this family draws it: leave it out and give {setting}"
            )


@dataclass(frozen=True, kw_only=True)
class ShapesFamily(SceneFamily):
    """Procedural scenes of varied difficulty: color, clutter, occlusion, noise and imbalance are drawn.

    Raises:
        ConfigError: a setting is out of its range; the message names it.

    >>> print(ShapesFamily(images=(64, 16, 16)).instance(0))  # doctest: +NORMALIZE_WHITESPACE
    shapes-train-0: 3 classes of 10 to 28 pixels, imbalance 1.64, color 0.68, clutter 0.71, occlusion 0.31,
    noise 0.036, 64 train images
    """

    variety: float = 0.5
    """0 keeps every instance at the middle of the band, `scenes`; 1 lets its parameters vary widely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("variety", self.variety, 0, 1)

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        scenes = self.scenes_of(np.random.default_rng(self.seed_of(number)))
        smallest, largest = scenes.object_size
        special = (
            f"{scenes.classes} classes of {smallest:.3g} to {largest:.3g} pixels, imbalance {scenes.imbalance:.2f}, "
            f"color {scenes.color:.2f}, clutter {scenes.clutter:.2f}, occlusion {scenes.occlusion:.2f}, "
            f"noise {scenes.noise:.3f}"
        )
        return self.make_instance("shapes", number, self.draw(scenes, number), special)

    def scenes_of(self, generator: np.random.Generator) -> ShapesConfig:
        """Moves the parameters away from the middle of the band, each on its own."""
        moved: dict[str, Any] = {
            name: float(
                np.clip(getattr(self.scenes, name) + self.variety * width * generator.uniform(-1, 1), low, high)
            )
            for name, (width, low, high) in _BAND.items()
        }
        # Imbalance is a ratio, so it moves by factors; a balanced middle becomes imbalanced at most.
        return replace(
            self.scenes, imbalance=self.scenes.imbalance * 4 ** (self.variety * generator.uniform()), **moved
        )


def resized(scenes: ShapesConfig, size: int) -> ShapesConfig:
    """Returns the parameters of scenes of another size, whose objects are as large a fraction of the image."""
    smallest, largest = scenes.object_size
    return replace(scenes, size=size, object_size=(smallest * size / scenes.size, largest * size / scenes.size))


def draw_splits(scenes: ShapesConfig, seed: int, images: tuple[int, int, int]) -> Splits:
    """Returns train, val and test scenes of a seed."""
    from mapopt.data.shapes import make_shapes_splits

    train, val, test = images
    return make_shapes_splits(scenes, seed=seed, train=train, val=val, test=test)
