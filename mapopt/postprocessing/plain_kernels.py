"""Hard and soft suppression as one would write them down: what the compiled loop is held to, and its stand-in.

Where numba does not work, detectors use these; they are slow. Overlaps, exponentials and the order of equal scores are
those of `mapopt.postprocessing.suppression_kernels`, so every number is, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def suppress_groups(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float32],
    bounds: NDArray[np.int64],
    rows: NDArray[np.int64],
    nms_iou: NDArray[np.float64],
    sigma: NDArray[np.float64],
    thresholds: NDArray[np.float32],
    floor: float,
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Suppresses all groups; see `mapopt.postprocessing.suppression_kernels.suppress_groups`.

    Args:
        boxes: See there, as for all that follows.
        scores: See there.
        bounds: See there.
        rows: See there.
        nms_iou: See there.
        sigma: See there.
        thresholds: See there.
        floor: See there.
        first: is not read, nor are the next two.
        others: See there.
        ious: See there.
        final: See there.
        kept: See there.
        sequence: See there.
        counts: See there.
    """
    kept[:] = False
    for group, (begin, end) in enumerate(pairwise(bounds.tolist())):
        row = rows[group]
        waiting = [i for i in range(begin, end) if scores[i] >= thresholds[row]]
        if sigma[row] > 0:
            chosen = {i: scores.dtype.type(score) for i, score in _soften(boxes, scores, waiting, sigma[row], floor)}
        else:
            chosen = {i: scores[i] for i in _keep_strongest(boxes, waiting, nms_iou[row])}
        ranked = sorted((i for i, score in chosen.items() if score >= thresholds[row]), key=lambda i: (-chosen[i], i))
        for place, i in enumerate(ranked):
            kept[i], final[i], sequence[begin + place] = True, chosen[i], i
        counts[group] = len(ranked)


def _keep_strongest(boxes: NDArray[np.float64], waiting: list[int], nms_iou: float) -> Iterator[int]:
    """Yields the boxes that no stronger one, which is kept itself, overlaps by more."""
    while waiting:
        chosen, *waiting = waiting
        yield chosen
        waiting = [i for i in waiting if not overlap(boxes[chosen], boxes[i]) > nms_iou]


def _soften(
    boxes: NDArray[np.float64], scores: NDArray[np.float32], waiting: list[int], sigma: float, floor: float
) -> Iterator[tuple[int, float]]:
    """Yields the boxes with the scores that they come to, the strongest first.

    Reference: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017, figure 2.
    """
    decay = dict.fromkeys(waiting, 1.0)
    while decay:
        chosen = max(decay, key=lambda i: (float(scores[i]) * decay[i], -i))
        factor = decay.pop(chosen)
        if factor < floor:
            continue
        yield chosen, float(scores[chosen]) * factor
        for i in decay:
            iou = overlap(boxes[chosen], boxes[i])
            decay[i] *= math.exp(-iou * iou / sigma)


def overlap(box: Any, other: Any) -> float:
    """Returns the IoU of two boxes, each four numbers xyxy; 0 if they have no area in common.

    >>> overlap([0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0])
    0.3333333333333333
    """
    left, top, right, bottom = (float(value) for value in box)
    other_left, other_top, other_right, other_bottom = (float(value) for value in other)
    wide, high = min(right, other_right) - max(left, other_left), min(bottom, other_bottom) - max(top, other_top)
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / ((right - left) * (bottom - top) + (other_right - other_left) * (other_bottom - other_top) - shared)
