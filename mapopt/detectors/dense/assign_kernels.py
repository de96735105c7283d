"""Compiled assignment of locations to objects: image by image, over the objects that there are.

Does what `mapopt.detectors.dense.geometry.assign_together` does, with the same numbers in the same order, and so with
the same bits. Tensors of all images hold as many objects as the fullest image, and go to memory and back a dozen times;
a loop meets only real objects, and what one image needs stays in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_Floats = NDArray[np.float32]
_ZERO, _UNIT, _TWO, _SMALL = (np.float32(value) for value in (0.0, 1.0, 2.0, 1e-9))


@compiled
def assign(
    boxes: _Floats,
    centers: _Floats,
    strides: _Floats,
    objects: _Floats,
    labels: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    threshold: _Floats,
    radius: np.float32,
    chosen: NDArray[np.int64],
    ignored: NDArray[np.bool_],
) -> None:
    """Assigns the locations of every image.

    Args:
        boxes: ``[images, locations, 4]``, or of one image that stands for all, whose overlap with objects decides.
        centers: ``[locations, 2]`` x, y in pixels.
        strides: ``[locations]``.
        objects: ``[images, g, 4]`` true boxes.
        labels: ``[images, g]``; -1 pads.
        crowd: ``[images, g]`` regions to ignore.
        threshold: ``[images]`` IoU from which a location is a positive.
        radius: half the side of an object's center region, in strides.
        chosen: ``[images, locations]``, overwritten: position among the image's objects, -1 for background.
        ignored: ``[images, locations]``, overwritten: background inside a crowd region.
    """
    locations, slots = len(centers), labels.shape[1]
    quality, best_overlap = np.empty((slots, locations), np.float32), np.empty(locations, np.float32)
    for image in range(len(labels)):
        places = boxes[image if len(boxes) > 1 else 0]
        for place in range(locations):
            chosen[image, place], ignored[image, place], best_overlap[place] = -1, False, -_UNIT
        for slot in range(slots):
            if labels[image, slot] >= 0 and not crowd[image, slot]:
                here, limit = objects[image, slot], threshold[image]
                _rate(places, centers, strides, here, slot, radius, limit, quality[slot], best_overlap, chosen[image])
        for slot in range(slots):
            if labels[image, slot] >= 0 and not crowd[image, slot]:
                best = _first_best(quality[slot])
                chosen[image, best] = slot
                # Who is given a location keeps it: no later object takes it for its best one.
                for later in range(slot + 1, slots):
                    quality[later, best] = -np.inf
        for slot in range(slots):
            if labels[image, slot] >= 0 and crowd[image, slot]:
                for place in range(locations):
                    if chosen[image, place] < 0 and _covers(objects[image, slot], centers, place):
                        ignored[image, place] = True


@compiled
def _rate(
    boxes: _Floats,
    centers: _Floats,
    strides: _Floats,
    covered: _Floats,
    slot: int,
    radius: np.float32,
    threshold: np.float32,
    quality: _Floats,
    best_overlap: _Floats,
    chosen: NDArray[np.int64],
) -> None:
    """Rates an object's locations: by overlap in its center region, and below all that by nearness."""
    left, top, right, bottom = covered[0], covered[1], covered[2], covered[3]
    middle_x, middle_y = (left + right) / _TWO, (top + bottom) / _TWO
    area = max(right - left, _ZERO) * max(bottom - top, _ZERO)
    for place in range(len(centers)):
        far_x, far_y = abs(centers[place, 0] - middle_x), abs(centers[place, 1] - middle_y)
        extent = radius * strides[place]
        if far_x < extent and far_y < extent and _covers(covered, centers, place):
            x1, y1, x2, y2 = boxes[place, 0], boxes[place, 1], boxes[place, 2], boxes[place, 3]
            wide = max(min(x2, right) - max(x1, left), _ZERO)
            high = max(min(y2, bottom) - max(y1, top), _ZERO)
            shared = wide * high
            union = max(x2 - x1, _ZERO) * max(y2 - y1, _ZERO) + area - shared
            overlap = shared / max(union, _SMALL)
            quality[place] = overlap
            if overlap >= threshold and overlap > best_overlap[place]:
                best_overlap[place], chosen[place] = overlap, slot
        else:
            quality[place] = -(far_x * far_x + far_y * far_y) / (strides[place] * strides[place]) - _UNIT


@compiled
def _covers(box: _Floats, centers: _Floats, place: int) -> bool:
    x, y = centers[place, 0], centers[place, 1]
    return x >= box[0] and x <= box[2] and y >= box[1] and y <= box[3]


@compiled
def _first_best(values: _Floats) -> int:
    best = 0
    for place in range(1, len(values)):
        if values[place] > values[best]:
            best = place
    return best
