"""The kinds that take other images: mosaic, copy-paste and MixUp.

Reference: A. Bochkovskiy, C.-Y. Wang, H.-Y. M. Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection",
arXiv:2004.10934, section 3.3 (mosaic); G. Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for
Instance Segmentation", CVPR 2021 (here without masks: an object is the rectangle of its box); H. Zhang et al., "mixup:
Beyond Empirical Risk Minimization", ICLR 2018, and Z. Zhang et al., "Bag of Freebies for Training Object Detection
Neural Networks", arXiv:1902.04103, section 3.1 (here the weight is uniform, and all boxes count alike).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import functional as v2

from mapopt.data.augmentation.pictures import Floats, Picture

CUT = (0.3, 0.7)
"""Between which fractions of the frame's sides a mosaic is cut."""

MOSAIC_NUMBERS = 3 + 3 * 4
"""Uniform numbers that a mosaic takes."""

PASTED_NUMBERS = 3
"""Uniform numbers that a pasted object takes."""


def mosaic(pictures: Sequence[Picture], numbers: Floats, *, zoom: float, minimum: float) -> Picture:
    """Cuts the frame in four and fills each part with a random crop of an image.

    Args:
        pictures: four, all in frames of one size.
        numbers: uniform random ones ``[MOSAIC_NUMBERS]``: the cut, which image comes first, and for each image its
            scale and the place of its crop.
        zoom: the largest scale; where that would leave a part of the frame empty, the smallest that does not.
        minimum: see `Objects.changed`.
    """
    height, width = pictures[0].size
    cut_x, cut_y = (
        min(max(1, round(side * (CUT[0] + (CUT[1] - CUT[0]) * number))), side - 1)
        for side, number in zip((width, height), numbers[:2], strict=True)
    )
    parts = ((0, 0, cut_x, cut_y), (cut_x, 0, width, cut_y), (0, cut_y, cut_x, height), (cut_x, cut_y, width, height))
    first = int(4 * numbers[2])
    canvas = torch.empty_like(pictures[0].pixels)
    objects = []
    for place, (left, top, right, bottom) in enumerate(parts):
        picture, own = pictures[(first + place) % 4], numbers[3 + 3 * place : 6 + 3 * place]
        wide, high = right - left, bottom - top
        content = picture.content
        fills = max(wide / content[0], high / content[1])
        scale = fills + own[0] * max(0.0, zoom - fills)
        crop = [min(length, max(1, round(side / scale))) for side, length in zip((wide, high), content, strict=True)]
        x, y = (int(number * (length - side + 1)) for number, length, side in zip(own[1:], content, crop, strict=True))
        canvas[:, top:bottom, left:right] = v2.resized_crop(picture.pixels, y, x, crop[1], crop[0], [high, wide])
        stretch = np.array([wide / crop[0], high / crop[1]] * 2)
        boxes = (picture.objects.boxes - (x, y, x, y)) * stretch + (left, top, left, top)
        objects.append(picture.objects.clipped(boxes, (left, top, right, bottom), minimum=minimum))
    return Picture(canvas, objects[0].joined(*objects[1:]), (width, height))


def paste_objects(picture: Picture, other: Picture, numbers: Floats, *, minimum: float) -> Picture:
    """Pastes objects of another image at random places; those that they hide too much of are gone.

    Args:
        picture: what to paste into.
        other: what to take objects from; regions of a crowd are none.
        numbers: uniform random ones ``[1 + PASTED_NUMBERS * limit]``: how many objects, from 1 to the limit, and for
            each which and where.
        minimum: see `Objects.changed`.
    """
    (height, width), there = picture.size, np.flatnonzero(~other.objects.crowd)
    limit = (len(numbers) - 1) // PASTED_NUMBERS
    count = min(1 + int(limit * numbers[0]), len(there))
    pixels, objects = picture.pixels, picture.objects
    if count:
        pixels = pixels.clone()
    for which, at_x, at_y in numbers[1 : 1 + PASTED_NUMBERS * count].reshape(count, PASTED_NUMBERS):
        chosen = there[[int(which * len(there))]]
        source = other.objects.select(chosen)
        # Whole pixels that hold all of the box.
        left, top = (int(np.floor(corner)) for corner in source.boxes[0, :2])
        right, bottom = (
            min(int(np.ceil(corner)), side) for corner, side in zip(source.boxes[0, 2:], (width, height), strict=True)
        )
        wide, high = right - left, bottom - top
        if wide < 1 or high < 1:
            continue
        area_x, area_y = max(picture.content[0], wide), max(picture.content[1], high)
        x, y = int(at_x * (area_x - wide + 1)), int(at_y * (area_y - high + 1))
        pixels[:, y : y + high, x : x + wide] = other.pixels[:, top:bottom, left:right]
        moved = source.changed(source.boxes + np.array([x - left, y - top] * 2), np.ones(1), minimum=minimum)
        objects = objects.covered((x, y, x + wide, y + high), minimum=minimum).joined(moved)
    return Picture(pixels, objects, picture.content)


def blend(picture: Picture, other: Picture, weight: float) -> Picture:
    """Mixes two images, the other one with this weight; the objects of both stay."""
    mixed = torch.lerp(picture.pixels.float(), other.pixels.float(), weight).round_().to(torch.uint8)
    content = tuple(map(max, zip(picture.content, other.content, strict=True)))
    return Picture(mixed, picture.objects.joined(other.objects), (content[0], content[1]))
