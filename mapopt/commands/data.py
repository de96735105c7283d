"""The flags that say which images a command works on: a folder with annotations, or procedural scenes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mapopt.data import Invalid, ShapesConfig, Splits, load_splits, make_shapes_splits
from mapopt.errors import ConfigError

SHAPES = "shapes"
"""What ``--data`` is called for procedural scenes."""

FOLDER_SIZE = (256, 256)
"""(height, width) that the images of a folder are fitted into where no size is given."""


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Which images."""

    data: str = SHAPES
    """A folder of images with annotations (COCO, Pascal VOC or YOLO), or "shapes": scenes drawn from a seed."""
    data_seed: int = 0
    """Which scenes are drawn; for a folder without a test split, how its validation split is divided."""
    data_limit: int | None = None
    """Folders: use at most so many images of each split."""
    invalid: Invalid = "error"
    """Folders: what to do with boxes outside their image or without area: error, clip or drop."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """Shapes: the dials of the scenes."""
    scene_counts: tuple[int, int, int] = (512, 128, 512)
    """Shapes: how many scenes to train, tune and test on."""

    def load(self, size: tuple[int, int] | None) -> Splits:
        """Reads or draws the images.

        Args:
            size: (height, width) the detector takes; None takes `FOLDER_SIZE`, or the scenes as they are drawn.

        Raises:
            ConfigError: flags contradict each other.
            DataError: the images or annotations cannot be used.
        """
        self.check(size)
        if self.data != SHAPES:
            return load_splits(
                self.data,
                size=size or FOLDER_SIZE,
                invalid=self.invalid,
                limit=self.data_limit,
                seed=self.data_seed,
            )
        train, val, test = self.scene_counts
        return make_shapes_splits(self.scenes, seed=self.data_seed, train=train, val=val, test=test)

    def check(self, size: tuple[int, int] | None) -> None:
        """Raises ConfigError where a flag is given that these data would ignore."""
        if self.data == SHAPES:
            ignored: dict[str, object] = {"data_limit": None, "invalid": "error"}
            if size is not None and size != (self.scenes.size, self.scenes.size):
                side = self.scenes.size
                raise ConfigError(
                    f"images of {size[0]} x {size[1]} pixels, but the scenes are drawn {side} x {side}: "
                    f"give --scenes.size {max(size)}"
                )
        else:
            ignored = {"scenes": ShapesConfig(), "scene_counts": (512, 128, 512)}
        for name, default in ignored.items():
            if getattr(self, name) != default:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} is given, but it says nothing about --data {self.data}: leave it out")


def draw_sample(count: int, sample: int, seed: int) -> np.ndarray:
    """Returns the positions, in order, of `sample` of `count` images, drawn by a seed; all of them for 0.

    Raises:
        ConfigError: there are not as many.
    """
    if not 0 <= sample <= count:
        raise ConfigError(f"sample is {sample}, and there are {count} images: expected 1 to {count}, or 0 for all")
    return np.sort(np.random.default_rng(seed).permutation(count)[: sample or count])
