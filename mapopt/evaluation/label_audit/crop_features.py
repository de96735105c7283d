"""Numbers that describe the pictures in boxes: slopes, colors, grays and sizes, and random features of them.

Each of the four has a Gaussian kernel of its own, and a linear fit on their random features is one with the sum of the
kernels: what tells classes apart may be a color in one set and an outline in another.

Reference: N. Dalal, B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, for the slopes;
    A. Rahimi, B. Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 24
"""Pixels of a crop, in both directions."""
_AROUND = 1.25
"""A crop is as many times as large as its box: what is beside an object tells it, too."""
_CELLS, _DIRECTIONS = 6, 8
_FEATURES = (500, 400, 300, 100)
"""Random features of slopes, colors, grays and sizes."""
_NARROW = 1.5
"""How many times narrower kernels are than the median distance."""
_PAIRS = 300


def crop(image: Image.Image, boxes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns the pictures in boxes ``[n, 4]`` of an image, and a little around them: ``[n, SIDE, SIDE, 3]``."""
    crops = np.zeros((len(boxes), SIDE, SIDE, 3), dtype=np.uint8)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * _AROUND
    corners = np.rint(np.concatenate([middle - half, middle + half], axis=1)).astype(np.int64)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    for row, corner in enumerate(corners.tolist()):
        part = image.crop(tuple(corner))
        way = Image.Resampling.BOX if min(part.size) > SIDE else Image.Resampling.BILINEAR
        crops[row] = np.asarray(part.resize((SIDE, SIDE), way))
    return crops


class CropFeatures:
    """Random features of crops, scaled by what a sample of them looks like."""

    def __init__(self, crops: NDArray[np.uint8], sides: NDArray[np.float64], *, seed: int) -> None:
        """Learns the scales.

        Args:
            crops: ``[n, SIDE, SIDE, 3]``, at least two.
            sides: ``[n, 2]`` width and height of their boxes, as fractions of the longer side of their image.
            seed: of the random features.
        """
        random = np.random.default_rng([seed, 0xC209])
        self._scales, self._directions, self._phases = [], [], []
        for values, count in zip(_describe(crops, sides), _FEATURES, strict=True):
            scale = (values.mean(axis=0), values.std(axis=0) + 1e-6)
            some = ((values - scale[0]) / scale[1])[random.permutation(len(values))[:_PAIRS]]
            distances = ((some[:, None] - some[None]) ** 2).sum(axis=2)
            width = np.sqrt(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
            directions = random.standard_normal((values.shape[1], count)) * (_NARROW / width)
            self._scales.append(scale)
            self._directions.append(directions.astype(np.float32))
            self._phases.append(random.uniform(0, 2 * np.pi, count).astype(np.float32))

    @property
    def width(self) -> int:
        """How many features a crop has."""
        return sum(_FEATURES) + 1

    def __call__(self, crops: NDArray[np.uint8], sides: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns float32 ``[n, F]`` features; the last is 1."""
        columns = []
        for values, (mean, deviation), directions, phases in zip(
            _describe(crops, sides), self._scales, self._directions, self._phases, strict=True
        ):
            angles = ((values - mean) / deviation).astype(np.float32) @ directions + phases
            columns.append(np.sqrt(2 / len(phases)).astype(np.float32) * np.cos(angles))
        return np.concatenate([*columns, np.ones((len(crops), 1), dtype=np.float32)], axis=1)


def _describe(crops: NDArray[np.uint8], sides: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Returns what is seen of crops, ``[n, .]`` each: slopes, colors, grays, and the sizes of their boxes."""
    count = len(crops)
    values = crops.astype(np.float32)
    gray = values.mean(axis=3)
    cell = SIDE // _CELLS
    colors = values.reshape(count, _CELLS, cell, _CELLS, cell, 3).mean(axis=(2, 4)).reshape(count, -1)
    halves = gray.reshape(count, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4)).reshape(count, -1)
    halves = (halves - halves.mean(axis=1, keepdims=True)) / (halves.std(axis=1, keepdims=True) + 10)
    logs = np.log(np.maximum(sides, 1e-4))
    sizes = np.concatenate([logs, logs[:, :1] - logs[:, 1:]], axis=1).astype(np.float32)
    return [_slopes(gray), colors, halves, sizes]


def _slopes(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns histograms of the directions of slopes, cell by cell."""
    across, down = np.zeros_like(gray), np.zeros_like(gray)
    across[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    down[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    steep = np.hypot(across, down)
    turn = (np.arctan2(down, across) / (2 * np.pi) % 1) * _DIRECTIONS
    lower = np.floor(turn)
    over = turn - lower
    count, cell = len(gray), SIDE // _CELLS
    histograms = np.empty((count, _CELLS, _CELLS, _DIRECTIONS), dtype=np.float32)
    for direction in range(_DIRECTIONS):
        weight = np.where(lower % _DIRECTIONS == direction, 1 - over, 0)
        weight += np.where((lower + 1) % _DIRECTIONS == direction, over, 0)
        cells = (steep * weight).reshape(count, _CELLS, cell, _CELLS, cell)
        histograms[..., direction] = cells.sum(axis=(2, 4))
    flat = histograms.reshape(count, -1)
    slopes: NDArray[np.float32] = np.sqrt(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 20))
    return slopes
