"""Cuts square windows out of images, with their annotations: many small images from a few large ones.

A crop is an image of its own, measured in its own pixels. What is left of a box inside the window is its box there.
Where little is left, the object is neither a target nor background: it is marked as a crowd, which a detector is not
taught and which counts neither as missed nor, when detected, as a false alarm. Leaving such a box out would teach the
detector that a visible part of an object is background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mapopt.data.annotations import Annotations
from mapopt.data.image_files import open_rgb
from mapopt.data.images import ImageSet, image_paths
from mapopt.data.memory import check_memory
from mapopt.errors import ConfigError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Windows:
    """Squares in images: ``[n]`` positions of the images, ``[n, 2]`` left and top, ``[n]`` sides, in their pixels."""

    images: NDArray[np.int64]
    corners: NDArray[np.float64]
    sides: NDArray[np.float64]


def read_crops(annotations: Annotations, windows: Windows, *, size: int, visible: float) -> ImageSet:
    """Decodes the images that windows lie in, each once, and scales the windows to one size.

    Args:
        annotations: the whole images.
        windows: what to cut out, inside the images.
        size: pixels of a crop's side.
        visible: fraction of an object's box, 0 to 1, that has to be left for it to count as an object.

    Raises:
        DataError: an image is missing, damaged or of another size than annotated, or there is no window.
        ConfigError: a setting is out of its range.
    """
    cropped = crop_annotations(annotations, windows, size=size, visible=visible)
    paths = image_paths(annotations)
    check_memory([len(windows.images)], (size, size), flags="size, or fewer images")
    pixels = torch.empty((len(windows.images), 3, size, size), dtype=torch.uint8)
    for position in np.unique(windows.images):
        image = open_rgb(
            paths[position], expected=(int(annotations.widths[position]), int(annotations.heights[position]))
        )
        for row in np.flatnonzero(windows.images == position):
            left, top = windows.corners[row].tolist()
            # The sums may exceed the image by a rounding, which PIL refuses.
            right = min(left + float(windows.sides[row]), image.width)
            bottom = min(top + float(windows.sides[row]), image.height)
            pixels[row] = _pixels(image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)))
    return ImageSet(
        annotations=cropped, size=(size, size), pixels=pixels, scale=torch.ones(len(pixels), dtype=torch.float32)
    )


def crop_annotations(annotations: Annotations, windows: Windows, *, size: int, visible: float) -> Annotations:
    """Returns the annotations of crops, in the crops' pixels; the arguments are those of `read_crops`."""
    if size < 1 or not 0 <= visible <= 1:
        raise ConfigError(f"size is {size} and visible {visible}: expected at least 1 pixel, and a fraction of 0 to 1")
    rows, objects = _pairs(annotations, windows)
    factor = size / windows.sides[rows]
    limits = np.stack([annotations.widths, annotations.heights] * 2, axis=1)[annotations.images[objects]]
    whole = np.clip(annotations.boxes[objects], 0, limits)
    moved = (whole - np.tile(windows.corners[rows], 2)) * factor[:, None]
    boxes = np.clip(moved, 0, size)
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    left_over = sides.prod(axis=1) / (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    crowd = annotations.crowd[objects] | (left_over < visible - _ROUNDING)
    # Of what is ignored anyway, slivers say nothing.
    kept = (sides > 0).all(axis=1) & (~crowd | (sides >= 1).all(axis=1))
    count = len(windows.images)
    return Annotations(
        image_ids=np.arange(1, count + 1),
        file_names=tuple(f"{annotations.file_names[image]}#{row}" for row, image in enumerate(windows.images)),
        widths=np.full(count, size),
        heights=np.full(count, size),
        category_ids=annotations.category_ids,
        category_names=annotations.category_names,
        boxes=boxes[kept],
        labels=annotations.labels[objects][kept],
        images=rows[kept],
        crowd=crowd[kept],
        area=(annotations.area[objects] * left_over * factor**2)[kept],
        ids=np.arange(1, int(kept.sum()) + 1),
    )


def _pairs(annotations: Annotations, windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns every window with every object of its image: positions of both."""
    order = np.argsort(annotations.images, kind="stable")
    counts = np.bincount(annotations.images, minlength=len(annotations))
    first = np.cumsum(counts) - counts
    each = counts[windows.images]
    rows = np.repeat(np.arange(len(windows.images)), each)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(each) - each, each)
    return rows, order[first[windows.images[rows]] + within]


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
