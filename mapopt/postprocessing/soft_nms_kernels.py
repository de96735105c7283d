"""Soft-NMS compiled by numba; nothing imports it at the top, because numba costs 0.4 s to import."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled


@compiled
def soften_groups(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    bounds: NDArray[np.int64],
    sigma: NDArray[np.float64],
    floor: float,
) -> NDArray[np.float64]:
    """Returns the scores ``[n]`` after Soft-NMS, -1 for a box that is dropped.

    Args:
        boxes: ``[n, 4]`` xyxy.
        scores: ``[n]``
        bounds: ``[g + 1]`` where groups begin, and the end.
        sigma: ``[g]`` above 0.
        floor: the part of its score under which a box is dropped.
    """
    softened = np.full(len(scores), -1.0)
    decay = np.ones(len(scores))
    waiting = np.empty(len(scores), np.int64)
    for group in range(len(sigma)):
        count = bounds[group + 1] - bounds[group]
        for place in range(count):
            waiting[place] = bounds[group] + place
        while count > 0:
            best = 0
            for place in range(1, count):  # of equal scores the earlier box goes first
                if scores[waiting[place]] * decay[waiting[place]] > scores[waiting[best]] * decay[waiting[best]]:
                    best = place
            chosen = waiting[best]
            count -= 1
            for place in range(best, count):
                waiting[place] = waiting[place + 1]
            if decay[chosen] < floor:
                continue
            softened[chosen] = scores[chosen] * decay[chosen]
            left, top, right, bottom = boxes[chosen, 0], boxes[chosen, 1], boxes[chosen, 2], boxes[chosen, 3]
            area = (right - left) * (bottom - top)
            for place in range(count):
                other = waiting[place]
                wide = min(boxes[other, 2], right) - max(boxes[other, 0], left)
                high = min(boxes[other, 3], bottom) - max(boxes[other, 1], top)
                if wide > 0 and high > 0:
                    shared = wide * high
                    other_area = (boxes[other, 2] - boxes[other, 0]) * (boxes[other, 3] - boxes[other, 1])
                    iou = shared / (other_area + area - shared)
                    decay[other] *= math.exp(-iou * iou / sigma[group])
    return softened
