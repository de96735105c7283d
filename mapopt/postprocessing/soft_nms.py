"""Gaussian Soft-NMS: a box's score decays for every stronger box of its class that it overlaps.

Only the order of choice makes it slow, and only within a group, so a compiled loop over groups is all it needs; where
numba does not work, numpy does the same box by box. Boxes on a GPU come to the host and go back.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.compiling import load_kernels

FLOOR = 1e-3
"""A box whose score has decayed to less than this part of what it was is dropped."""


@torch.no_grad()
def soften(boxes: Tensor, scores: Tensor, groups: Tensor, sigma: Tensor) -> Tensor:
    """Returns the scores ``[n]`` after Soft-NMS within groups, -1 for a box that is dropped.

    Args:
        boxes: ``[n, 4]`` xyxy.
        scores: ``[n]``, not negative.
        groups: ``[n]`` ascending numbers; boxes of different groups do not meet.
        sigma: ``[n]`` above 0, one number for a group: scores decay by ``exp(-iou ** 2 / sigma)``.

    Reference: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017, equation 3.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    >>> soften(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2), torch.full((2,), 0.5))
    tensor([0.9000, 0.4852])
    """
    rows = np.ascontiguousarray(boxes.detach().cpu().double().numpy())
    names = groups.detach().cpu().numpy()
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))[: len(names)]
    bounds = np.append(starts, len(names)).astype(np.int64)
    widths = sigma.detach().cpu().double().numpy()[starts]
    values = scores.detach().cpu().double().numpy()
    if len(values):
        kernels = load_kernels("mapopt.postprocessing.soft_nms_kernels")
        values = (kernels.soften_groups if kernels else soften_in_numpy)(rows, values, bounds, widths, FLOOR)
    return torch.from_numpy(values).to(device=scores.device, dtype=scores.dtype)


def soften_in_numpy(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    bounds: NDArray[np.int64],
    sigma: NDArray[np.float64],
    floor: float,
) -> NDArray[np.float64]:
    """Does what `mapopt.postprocessing.soft_nms_kernels.soften_groups` does, one box after the other."""
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top)
    softened = np.full(len(scores), -1.0)
    for first, last, width in zip(bounds[:-1], bounds[1:], sigma, strict=True):
        decay = np.ones(last - first)
        waiting = np.arange(first, last)
        while len(waiting):
            now = scores[waiting] * decay
            best = int(np.argmax(now))
            chosen = waiting[best]
            if decay[best] >= floor:
                softened[chosen] = now[best]
                wide = np.minimum(right[waiting], right[chosen]) - np.maximum(left[waiting], left[chosen])
                high = np.minimum(bottom[waiting], bottom[chosen]) - np.maximum(top[waiting], top[chosen])
                shared = wide * high
                meet = (wide > 0) & (high > 0)
                iou = np.where(meet, shared / np.where(meet, areas[waiting] + areas[chosen] - shared, 1.0), 0.0)
                decay *= np.exp(-iou * iou / width)
            rest = np.arange(len(waiting)) != best
            waiting, decay = waiting[rest], decay[rest]
    return softened
