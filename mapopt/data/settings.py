"""The settings that say which images are meant: a folder with annotations, or procedural scenes.

They are read and checked without torch; images are read or drawn when `load` is called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mapopt.bounds import SIDE, check_seed, check_whole
from mapopt.data.invalid import Invalid
from mapopt.data.options import check_bits, check_fractions
from mapopt.data.shapes_config import ShapesConfig
from mapopt.errors import ConfigError, DataError
from mapopt.fields import LEFT_OUT_AT_DEFAULT

if TYPE_CHECKING:
    from mapopt.data.images import ImageSet
    from mapopt.data.layouts import Part
    from mapopt.data.splits import Splits

SHAPES = "shapes"
"""What ``data`` is for procedural scenes."""

FOLDER_SIZE = (256, 256)
"""(height, width) that the images of a folder are fitted into where no size is given."""

WORKERS = 256
"""Threads that decode at the most."""

SCENE_COUNTS = (512, 128, 512)
"""Scenes to train on, to select by and to test on where no numbers are given."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images."""

    data: str = SHAPES
    """A folder of images with annotations (COCO, Pascal VOC, YOLO or Mapillary Vistas), or "shapes": scenes drawn from
    a seed."""
    data_seed: int = 0
    """Which scenes are drawn; for a folder without a test split, how its validation split is divided."""
    data_limit: int | None = None
    """Folders: use no more than so many images of each split."""
    invalid: Invalid = "error"
    """Folders: what to do with boxes outside their image or without area: error, clip or drop."""
    split: tuple[float, float, float] | None = None
    """What is one set: divide it by --data-seed into train, val and test sets, such as 0.7 0.15 0.15."""
    bits: int = 16
    """Folders: how many bits of images with 16 bits are in use; 12 takes values up to 4095 as white."""
    workers: int | None = field(default=None, metadata=LEFT_OUT_AT_DEFAULT)
    """Folders: hold no image in memory, but decode each whenever it is needed, ahead of time by so many threads; 0
    decodes in the training itself. By default all are decoded once, into memory. The numbers are the same."""
    scenes: ShapesConfig = field(default_factory=ShapesConfig)
    """Shapes: the parameters of the scenes."""
    scene_counts: tuple[int, int, int] = SCENE_COUNTS
    """Shapes: how many scenes for the train, val and test splits."""

    @property
    def data_name(self) -> str:
        """What tasks call these images."""
        return self.data if self.data == SHAPES else Path(self.data).resolve().name

    def load(self, size: tuple[int, int] | None) -> Splits:
        """Reads or draws the images.

        Args:
            size: (height, width) the detector takes; None takes `FOLDER_SIZE`, or the scenes as they are drawn.

        Raises:
            ConfigError: settings contradict each other.
            DataError: the images or annotations cannot be used.
        """
        from mapopt.data.loading import load_splits
        from mapopt.data.shapes import make_shapes_splits

        self.check(size)
        if self.data != SHAPES:
            return load_splits(
                self.data,
                size=size or FOLDER_SIZE,
                invalid=self.invalid,
                limit=self.data_limit,
                seed=self.data_seed,
                split=self.split,
                bits=self.bits,
                workers=self.workers or 0,
                on_demand=self.workers is not None,
            )
        train, val, test = self.scene_counts
        return make_shapes_splits(self.scenes, seed=self.data_seed, train=train, val=val, test=test)

    def load_part(self, part: Part, size: tuple[int, int] | None) -> ImageSet:
        """Reads or draws one set, to evaluate on; a folder need not have others, and may be one COCO file.

        Args:
            part: which set.
            size: as for `load`.

        Raises:
            ConfigError: settings contradict each other.
            DataError: the images or annotations cannot be used.
        """
        if self.data == SHAPES:
            images: ImageSet = getattr(self.load(size), part)
            return images
        from mapopt.data.loading import load_part

        self.check(size)
        return load_part(
            self.data,
            part,
            size=size or FOLDER_SIZE,
            invalid=self.invalid,
            limit=self.data_limit,
            seed=self.data_seed,
            split=self.split,
            bits=self.bits,
            workers=self.workers or 0,
            on_demand=self.workers is not None,
        )

    def check(self, size: tuple[int, int] | None) -> None:
        """Raises an error where there is no such folder, or a setting is given that these data would ignore.

        Raises:
            ConfigError: a setting would be ignored, or the size is not that of the scenes.
            DataError: there is nothing at the path.
        """
        check_seed(self.data_seed, "data_seed")
        for count in self.scene_counts:
            check_whole("scene_counts", count, 1)
        if self.data_limit is not None:
            check_whole("data_limit", self.data_limit, 1)
        for side in size or ():
            check_whole("size", side, 1, SIDE)
        if self.invalid == "keep":
            raise ConfigError("invalid is 'keep', which is for evaluate --truth only: expected error, clip or drop")
        if self.split is not None:
            check_fractions(self.split)
        check_bits(self.bits)
        if self.workers is not None:
            check_whole("workers", self.workers, 0, WORKERS)
        if self.data == SHAPES:
            ignored: dict[str, object] = {
                "data_limit": None,
                "invalid": "error",
                "split": None,
                "bits": 16,
                "workers": None,
            }
            drawn = self.scenes.size
            if size is not None and size != (drawn, drawn):
                raise ConfigError(
                    f"images of {size[0]} x {size[1]} pixels, but the scenes are drawn {drawn} x {drawn}: "
                    f"give --scenes.size {max(size)}"
                )
        else:
            ignored = {"scenes": ShapesConfig(), "scene_counts": SCENE_COUNTS}
        for name, default in ignored.items():
            if getattr(self, name) != default:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} is given, but it says nothing about --data {self.data}: leave it out")
        if self.data != SHAPES and not os.path.exists(Path(self.data)):
            raise DataError(f"{self.data}: no such file or folder. Check the path, or give {SHAPES} for scenes.")


def draw_sample(count: int, sample: int, seed: int) -> np.ndarray:
    """Returns the positions, in order, of `sample` of `count` images, drawn by a seed; all of them for 0.

    Raises:
        ConfigError: there are not as many.
    """
    if not 0 <= sample <= count:
        raise ConfigError(f"sample is {sample}, and there are {count} images: expected 1 to {count}, or 0 for all")
    return np.sort(np.random.default_rng(seed).permutation(count)[: sample or count])
