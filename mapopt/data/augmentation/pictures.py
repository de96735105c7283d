"""A training image in the making, with its objects: every kind of augmentation takes one and returns another.

What a kind crops or covers of a box is taken off the fraction of it that is left; where too little is left, the object
is no longer one. Fractions multiply, so the rule is the same for one kind and for several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in an image.

    Attributes:
        boxes: ``[g, 4]`` xyxy pixels.
        labels: int64 ``[g]`` positions of categories.
        crowd: bool ``[g]``: a region, no object.
        left: ``[g]`` the fraction of each that is still to be seen, 0 to 1.
    """

    boxes: Floats
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    left: Floats

    @classmethod
    def whole(cls, boxes: NDArray, labels: NDArray[np.int64], crowd: NDArray[np.bool_]) -> Objects:
        """Returns objects of which nothing is missing yet."""
        return cls(boxes.astype(np.float64), labels, crowd, np.ones(len(boxes)))

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, chosen: NDArray) -> Objects:
        """Returns some of them: bool ``[g]`` or positions."""
        return Objects(self.boxes[chosen], self.labels[chosen], self.crowd[chosen], self.left[chosen])

    def changed(self, boxes: Floats, fraction: Floats, *, minimum: float) -> Objects:
        """Returns the objects with other boxes, without those of which too little is left.

        Args:
            boxes: ``[g, 4]`` where they are now, inside the frame.
            fraction: ``[g]`` of each that was not lost now.
            minimum: what has to be left in all; a pixel of area has to be, in any case.
        """
        left = self.left * fraction
        kept = (left >= minimum) & (area(boxes) > 1.0)
        return Objects(boxes[kept], self.labels[kept], self.crowd[kept], left[kept])

    def clipped(self, boxes: Floats, window: tuple[float, float, float, float], *, minimum: float) -> Objects:
        """Returns the objects with other boxes, clipped to a window (x1, y1, x2, y2)."""
        low, high = np.array(window[:2] * 2), np.array(window[2:] * 2)
        inside = np.clip(boxes, low, high)
        return self.changed(inside, area(inside) / np.maximum(area(boxes), 1e-9), minimum=minimum)

    def covered(self, rectangle: tuple[float, float, float, float], *, minimum: float) -> Objects:
        """Returns the objects behind a rectangle: those of which it hides too much are gone, the boxes stay."""
        low, high = np.array(rectangle[:2] * 2), np.array(rectangle[2:] * 2)
        hidden = area(np.clip(self.boxes, low, high)) / np.maximum(area(self.boxes), 1e-9)
        return self.changed(self.boxes, 1 - hidden, minimum=minimum) if hidden.any() else self

    def joined(self, *others: Objects) -> Objects:
        """Returns these and others."""
        every = (self, *others)
        names = ("boxes", "labels", "crowd", "left")
        return Objects(*(np.concatenate([getattr(each, name) for each in every]) for name in names))


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with its objects.

    Attributes:
        pixels: uint8 ``[3, h, w]``.
        objects: in these pixels.
        content: (width, height) of what of the frame is image, at its top left; the rest is gray.
    """

    pixels: Tensor
    objects: Objects
    content: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(Height, width) of the frame."""
        height, width = self.pixels.shape[-2:]
        return height, width


def area(boxes: Floats) -> Floats:
    """Returns the areas ``[g]``."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
