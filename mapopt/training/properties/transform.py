"""What every transform of samples has to be: a function of its sample and of the seed, that moves boxes with pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mapopt.data.augmentation.pictures import Objects
from mapopt.data.augmentation.transforms import Transform, apply_transform
from mapopt.errors import ConfigError
from mapopt.training.properties.base import Case

SEEDS = 12
"""With which every property is tried."""

MARGIN = 1.5
"""Pixels that a color may bleed out of its box by resampling."""

_RED, _STRAY = 60, 0.02


@dataclass(frozen=True, kw_only=True)
class TransformCase(Case):
    """A transform that is being checked."""

    transform: Transform
    size: tuple[int, int]
    """(Height, width) of the images."""

    def sample(self) -> tuple[torch.Tensor, Objects]:
        """Returns red rectangles on black, with their boxes."""
        height, width = self.size
        image = torch.zeros((3, height, width), dtype=torch.uint8)
        boxes = []
        for x, y, wide, high in ((0.1, 0.15, 0.3, 0.2), (0.55, 0.1, 0.2, 0.35), (0.3, 0.6, 0.4, 0.25)):
            x1, y1, x2, y2 = (round(part) for part in (x * width, y * height, (x + wide) * width, (y + high) * height))
            image[0, y1:y2, x1:x2] = 255
            boxes.append((x1, y1, x2, y2))
        return image, Objects.whole(np.array(boxes, float), np.arange(3), np.zeros(3, bool))

    def apply(self, image: torch.Tensor, objects: Objects, seed: int) -> tuple[torch.Tensor, Objects]:
        """Returns a sample after the transform; fails where it is none."""
        try:
            return apply_transform(self.transform, image, objects, seed=seed, name=self.name)
        except ConfigError as error:
            self.fail(f"with seed {seed}, {error}")


def check_sample(case: TransformCase) -> None:
    """It returns an image of the same size with as many labels as boxes, of images with objects and without."""
    image, objects = case.sample()
    for seed in range(SEEDS):
        _, left = case.apply(image, objects, seed)
        unknown = set(left.labels.tolist()) - set(objects.labels.tolist())
        case.expect(not unknown, f"with seed {seed}, labels {sorted(unknown)} are none of those that it was given")
        case.apply(image, objects.select(np.zeros(len(objects), bool)), seed)


def check_seeded(case: TransformCase) -> None:
    """All that it draws follows from the seed: from the generators of torch, NumPy and Python that all share."""
    image, objects = case.sample()
    for seed in range(SEEDS):
        (pixels, first), (again, second) = (case.apply(image, objects, seed) for _ in range(2))
        same = torch.equal(pixels, again) and np.array_equal(first.boxes, second.boxes)
        case.expect(same, f"twice with seed {seed} it returned two samples: it has a generator of its own")


def check_boxes(case: TransformCase) -> None:
    """What was in a box is in one afterwards."""
    image, objects = case.sample()
    height, width = case.size
    x, y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
    for seed in range(SEEDS):
        made, left = case.apply(image, objects, seed)
        red = (made[0].int() - made[1:].amax(0).int() > _RED).numpy()
        inside = np.zeros((height, width), bool)
        for x1, y1, x2, y2 in left.boxes:
            inside |= (x > x1 - MARGIN) & (x < x2 + MARGIN) & (y > y1 - MARGIN) & (y < y2 + MARGIN)
        stray = int((red & ~inside).sum())
        case.expect(
            stray <= _STRAY * max(int(red.sum()), 1),
            f"with seed {seed}, {stray} of {int(red.sum())} pixels of objects are in no box",
        )


TRANSFORM_PROPERTIES: Mapping[str, Callable[[TransformCase], None]] = {
    "sample": check_sample,
    "seeded": check_seeded,
    "boxes": check_boxes,
}
"""Name -> the check. What turns red into another color is none for "boxes"."""
