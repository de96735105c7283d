"""The kinds that leave boxes where they are: blur, hue, and the gray rectangle of cut-out.

Reference: T. DeVries, G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
arXiv:1708.04552 (here a rectangle of random sides, inside the frame).
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from mapopt.data.augmentation.pictures import Floats

_SMALLEST_SIGMA = 0.1


def blur(pixels: Tensor, sigma: float) -> Tensor:
    """Returns an image ``[3, h, w]`` blurred by a Gaussian of this standard deviation in pixels."""
    if sigma < _SMALLEST_SIGMA:
        return pixels
    # Three standard deviations either way, and no further than the image can be mirrored.
    halves = [min(math.ceil(3 * sigma), side - 1) for side in (pixels.shape[-1], pixels.shape[-2])]
    return v2.gaussian_blur(pixels, [2 * length + 1 for length in halves], [sigma, sigma])


def turn_hue(pixels: Tensor, turn: float) -> Tensor:
    """Returns an image uint8 ``[3, h, w]`` with its colors turned by a fraction of the circle, -0.5 to 0.5."""
    return v2.adjust_hue(pixels, turn)


def hole(numbers: Floats, largest: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns a rectangle (x1, y1, x2, y2) inside a frame.

    Args:
        numbers: uniform random ones ``[4]``: its sides and its place.
        largest: its largest side as a fraction of the frame's; the smallest is a third of it.
        size: (height, width) of the frame.
    """
    height, width = size
    wide, high = (
        max(1, round(side * largest * (1 + 2 * number) / 3))
        for side, number in zip((width, height), numbers[:2], strict=True)
    )
    x, y = (
        int(number * (side - own + 1))
        for number, side, own in zip(numbers[2:], (width, height), (wide, high), strict=True)
    )
    return x, y, x + wide, y + high


def fill(pixels: Tensor, rectangle: tuple[int, int, int, int], gray: float) -> Tensor:
    """Returns an image with a rectangle in gray."""
    x1, y1, x2, y2 = rectangle
    return v2.erase(pixels, y1, x1, y2 - y1, x2 - x1, v=pixels.new_tensor(np.full((3, 1, 1), gray)))
