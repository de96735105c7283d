"""The family of varied difficulty: procedural scenes whose dials move within a band around a middle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.envs.families.base import Instance, Side
from mapopt.errors import ConfigError
from mapopt.training.knobs import Knobs
from mapopt.training.task import Recipe, Task

_DATA_SEED = {"train": 1_000_000, "judge": 2_000_000}

_BAND = {
    "colour": (0.2, 0.3, 1.0),
    "clutter": (1.0, 0.0, 4.0),
    "occlusion": (0.2, 0.0, 0.6),
    "noise": (0.03, 0.0, 0.1),
}
"""How far each dial moves at full variety, and the limits it keeps to."""


@dataclass(frozen=True, kw_only=True)
class ShapesFamily:
    """Procedural scenes: every instance has its own images, and its own difficulty within a band.

    Raises:
        ConfigError: `count` is not positive.
    """

    split: Side = "train"
    """Whether the instances are for training an agent or for judging it."""
    count: int = 48
    """How many instances there are."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """The middle of the band."""
    variety: float = 0.5
    """0 keeps every instance at the middle of the band; 1 lets size, imbalance, clutter and noise vary widely."""
    images: tuple[int, int, int] = (256, 128, 256)
    """Train, tune and test images of an instance."""
    recipe: Recipe = field(default_factory=Recipe)
    knobs: Knobs = field(default_factory=Knobs)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"a family of {self.count} instances: expected at least one")
        if not 0 <= self.variety <= 1:
            raise ConfigError(f"variety is {self.variety}: expected 0 to 1")

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        if not 0 <= number < self.count:
            raise ConfigError(
                f"instance {number} was asked of a family of {self.count}: expected 0 to {self.count - 1}"
            )
        seed = _DATA_SEED[self.split] + number
        scenes = self.scenes_of(np.random.default_rng(seed))
        name = f"shapes-{self.split}-{number}"
        description = (
            f"{name}: {scenes.classes} classes of size {scenes.object_size}, imbalance {scenes.imbalance:.2f}, "
            f"colour {scenes.colour:.2f}, clutter {scenes.clutter:.2f}, noise {scenes.noise:.3f}, "
            f"{self.images[0]} train images"
        )
        splits = _splits(scenes, seed, self.images)
        return Instance(Task(name=name, splits=splits, recipe=self.recipe, knobs=self.knobs), description)

    def scenes_of(self, generator: np.random.Generator) -> ShapesConfig:
        """Moves the dials away from the middle of the band, each on its own."""
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


@lru_cache(maxsize=64)
def _splits(scenes: ShapesConfig, seed: int, images: tuple[int, int, int]) -> Splits:
    train, tune, test = images
    return make_shapes_splits(scenes, seed=seed, train=train, tune=tune, test=test)
