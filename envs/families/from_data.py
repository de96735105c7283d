"""The family of a data set of one's own: every instance is crops of images that a folder holds.

The folder's images are divided once, by a seeded shuffle, into those for training agents and those for evaluating
them; an instance divides a draw of its split's images again, into train, val and test. So no image is in two splits of
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Part, read_part
from mapopt.data.shapes_config import MAX_SEED, check_range
from mapopt.envs.families.base import Instance, NumberedFamily, boxes_by_class, check_band
from mapopt.envs.families.cache import HELD
from mapopt.envs.numbering import InstanceSplit
from mapopt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mapopt.data import Splits, Windows

_READ_FILES = 4


@dataclass(frozen=True, kw_only=True)
class FromDataFamily(NumberedFamily):
    """Crops of a folder's images (COCO, Pascal VOC or YOLO) or of a COCO file's, at a scale drawn for each instance.

    Both splits have to be made with the same `path`, `part`, `eval_fraction` and `seed`: these say which image is for
    which.

    Raises:
        ConfigError: a setting is out of its range; the message names it.
        DataError: the folder is no data set, or has too few images; the message says how many are needed.
    """

    path: Path
    """The folder, a YOLO ``data.yaml``, or a COCO ``.json``."""
    part: Part = "train"
    """Which of the folder's sets the images are taken from: train, val or test. The others stay unseen."""
    size: int = 64
    """Pixels of a crop's side, as the detector takes it."""
    crop: tuple[float, float] = (0.3, 0.7)
    """Smallest and largest side of a crop, as a fraction of its image's shorter side; drawn for an instance."""
    visible: float = 0.3
    """An object of which a smaller fraction of its box is left is ignored: nothing to detect, and no false alarm."""
    empty: float = 0.1
    """Largest fraction of crops without an object: so many lie anywhere in any image, the others show an object."""
    crops_per_image: int = 8
    """Largest number of crops of an image that are to show an object."""
    eval_fraction: float = 0.4
    """Fraction of the images that is for evaluating agents; the others are for training them."""
    seed: int = 0
    """Decides which images are for evaluating agents."""
    invalid: Invalid = "error"
    """What to do with boxes outside their image or without area: error, clip or drop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band("crop", self.crop, 0.01, 1)
        for name, low, high, whole in (
            ("size", 16, 2048, True),
            ("visible", 0, 1, False),
            ("empty", 0, 0.95, False),
            ("crops_per_image", 1, 1_000_000, True),
            ("eval_fraction", 0.05, 0.95, False),
            ("seed", 0, MAX_SEED, True),
        ):
            check_range(name, getattr(self, name), low, high, whole=whole)
        if not isinstance(self.path, str | Path):
            raise ConfigError(f"path is {self.path!r}: expected the path of a folder or of a COCO file")
        object.__setattr__(self, "path", Path(self.path))
        self._check_enough()

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``."""
        seed = self.seed_of(number)
        settings = (self.size, self.crop, self.visible, self.empty, self.crops_per_image, self.eval_fraction, self.seed)
        key = (FromDataFamily, self.path.resolve(), self.part, self.invalid, settings, self.images, seed)
        splits = HELD.get(key, lambda: self._draw(seed))
        return self.make_instance("from-data", number, splits, splits.note)

    def _draw(self, seed: int) -> Splits:
        from mapopt.data import Splits, read_crops

        source = self._source()
        generator = np.random.default_rng(seed)
        extent = float(generator.uniform(*self.crop))
        shown = _shown(source, extent, self.visible)
        mine = generator.permutation(self._images_of(self.split))
        has_object = np.isin(mine, source.images[shown])
        useful = _portions(mine[has_object], self._needed(), self.images)
        bare = _portions(mine[~has_object], (0, 0, 0), self.images)
        sets = [
            read_crops(
                source,
                self._windows(source, extent, shown, useful[part], bare[part], self.images[part], generator),
                size=self.size,
                visible=self.visible,
            )
            for part in range(3)
        ]
        train = sets[0].annotations
        empty = 1 - len(np.unique(train.images[~train.crowd])) / len(train)
        note = (
            f"{self.path.name} ({self.part} set), crops of {extent:.2f} of the shorter side at {self.size} pixels from "
            f"{' + '.join(str(len(part)) for part in useful)} images: {boxes_by_class(train)}, "
            f"{int(train.crowd.sum())} ignored, {empty:.0%} of train crops empty"
        )
        return Splits(train=sets[0], val=sets[1], test=sets[2], note=note)

    def _windows(
        self,
        source: Annotations,
        fraction: float,
        shown: NDArray[np.bool_],
        useful: NDArray[np.int64],
        bare: NDArray[np.int64],
        count: int,
        generator: np.random.Generator,
    ) -> Windows:
        """Draws where the crops of a split lie: the greater part around an object, some anywhere."""
        from mapopt.data import Windows

        around = count - self._anywhere(count)
        objects = np.array(
            [generator.choice(np.flatnonzero(shown & (source.images == image))) for image in np.resize(useful, around)],
            dtype=np.int64,
        )
        images = np.concatenate(
            [source.images[objects], generator.choice(np.concatenate([useful, bare]), count - around)]
        )
        extent = np.stack([source.widths, source.heights], axis=1)[images].astype(np.float64)
        sides = fraction * extent.min(axis=1)
        low, high = np.zeros_like(extent), extent - sides[:, None]
        # Around an object: wherever as much of it shows as can.
        boxes = np.clip(source.boxes[objects], 0, np.tile(extent[:around], 2))
        first, last = boxes[:, :2], boxes[:, 2:] - sides[:around, None]
        low[:around] = np.maximum(np.minimum(first, last), 0)
        high[:around] = np.minimum(np.maximum(first, last), high[:around])
        return Windows(images, low + generator.uniform(size=low.shape) * (high - low), sides)

    def _anywhere(self, count: int) -> int:
        """Returns how many of so many crops lie anywhere."""
        return int(self.empty * count)

    def _needed(self) -> tuple[int, int, int]:
        """Returns the images with an object that the splits of an instance need."""
        train, val, test = (-(-(count - self._anywhere(count)) // self.crops_per_image) for count in self.images)
        return train, val, test

    def _images_of(self, split: InstanceSplit) -> NDArray[np.int64]:
        """Returns the positions of the images that are for a split of the instances."""
        count = len(self._source())
        order = np.random.default_rng([self.seed, 0x51DE]).permutation(count)
        first = round(self.eval_fraction * count)
        return order[:first] if split == "eval" else order[first:]

    def _source(self) -> Annotations:
        return _read(self.path.resolve(), self.part, self.invalid)

    def _check_enough(self) -> None:
        source, needed = self._source(), sum(self._needed())
        # The smallest crops show the fewest objects, so what is enough for them is enough for all.
        useful = np.unique(source.images[_shown(source, self.crop[0], self.visible)])
        purposes: dict[InstanceSplit, str] = {"train": "training", "eval": "evaluating"}
        for split, purpose in purposes.items():
            count = int(np.isin(self._images_of(split), useful).sum())
            if count < needed:
                total = int(np.ceil(needed / min(self.eval_fraction, 1 - self.eval_fraction)))
                raise DataError(
                    f"{self.path}: of {len(source)} images, {count} are for {purpose} agents and have an object that "
                    f"shows in a crop; {needed} are needed (about {total} in all) for instances of "
                    f"{'+'.join(map(str, self.images))} crops, at most {self.crops_per_image} of an "
                    "image. Add images, ask for fewer crops (images), or raise crops_per_image"
                )


def _shown(source: Annotations, fraction: float, visible: float) -> NDArray[np.bool_]:
    """Returns ``[N]`` True for the objects of which a crop can show enough; its side is a fraction of the image's."""
    side = fraction * np.minimum(source.widths, source.heights)[source.images]
    limits = np.stack([source.widths, source.heights] * 2, axis=1)[source.images]
    boxes = np.clip(source.boxes, 0, limits)
    extent = boxes[:, 2:] - boxes[:, :2]
    return ~source.crowd & (np.minimum(1, side[:, None] / extent).prod(axis=1) >= visible)


def _portions(
    images: NDArray[np.int64], needed: tuple[int, int, int], wanted: tuple[int, int, int]
) -> list[NDArray[np.int64]]:
    """Divides images among three splits: each gets what it needs, then evenly towards what it wants, one per crop."""
    spare = min(len(images), sum(wanted)) - sum(needed)
    room = [want - need for want, need in zip(wanted, needed, strict=True)]
    taken = [need + (spare * free // sum(room) if sum(room) else 0) for need, free in zip(needed, room, strict=True)]
    ends = np.cumsum(taken)
    return [images[end - count : end] for end, count in zip(ends, taken, strict=True)]


@lru_cache(maxsize=_READ_FILES)
def _read(path: Path, part: Part, invalid: Invalid) -> Annotations:
    return read_part(path, part, invalid=invalid)
