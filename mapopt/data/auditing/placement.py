"""Finds label files whose boxes would fit better if all of them were moved: shifted as a whole.

What objects look like is learned from the set itself, in histograms: which colors and how much detail there are inside
boxes and outside of them, over all images. In each image the boxes are then moved over the picture together, and three
things are added up: how much what lies inside looks like objects, how well edges of boxes lie on edges of the picture,
and how much of the boxes lies outside of the image. Where another place is far better than the one noted, the file is a
suspect. Boxes that were cut at the edge of the image after the shift lose the third sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.data.auditing.pictures import SIDE

FAR = 0.35
"""Fraction of the longer side by which boxes are moved at most, in each direction."""
SUSPECT = 5.0
"""How many standard deviations better another place must be. Measured: see docs/data.md."""
_EDGES = 0.5
"""Weight of the edges beside that of the likeness."""
_OUTSIDE, _ALONE = 160.0, 20.0
"""How many standard deviations boxes cost that lie wholly outside of their image, and where a single box of several
reaches out: then the box is wrong rather than the file."""
_CLIP = 4.0
_BINS = (512, 20, 20, 20, 216)


@dataclass(frozen=True)
class Placement:
    """How well the boxes of an image lie.

    Attributes:
        gain: how much better the best place is than the one noted, in standard deviations over all places.
        shift: (x, y) pixels of the image from the boxes to their best place.
    """

    gain: float
    shift: tuple[float, float]


def placements(
    pictures: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float64]], sizes: Sequence[tuple[int, int]]
) -> list[Placement]:
    """Returns how well the boxes of each image lie.

    Args:
        pictures: small pictures, see `mapopt.data.auditing.pictures.Look`.
        boxes: ``[n, 4]`` corners of each image's boxes, in its own pixels, with area, at least one.
        sizes: (width, height) of each image in its own pixels.
    """
    inside, outside = ([np.ones(bins) for bins in _BINS] for _ in range(2))
    scaled = []
    for picture, own, (width, height) in zip(pictures, boxes, sizes, strict=True):
        scaled.append(own * np.tile([picture.shape[1] / width, picture.shape[0] / height], 2))
        covered = _mask(scaled[-1], picture.shape[:2])
        for place, values in enumerate(_features(picture)):
            every = np.bincount(values.ravel(), minlength=_BINS[place])
            within = np.bincount(values.ravel(), weights=covered.ravel(), minlength=_BINS[place])
            inside[place] += within
            outside[place] += every - within
    likelihood = [
        np.log((within / within.sum()) / (without / without.sum()))
        for within, without in zip(inside, outside, strict=True)
    ]
    placed = []
    for picture, own, (width, height) in zip(pictures, scaled, sizes, strict=True):
        gain, (x, y) = _best(picture, own, likelihood)
        placed.append(Placement(gain, (x * width / picture.shape[1], y * height / picture.shape[0])))
    return placed


def _best(
    picture: NDArray[np.uint8], boxes: NDArray[np.float64], likelihood: Sequence[NDArray[np.float64]]
) -> tuple[float, tuple[int, int]]:
    """Returns by how much the best place is better, and where it is from the noted one, in pixels of the picture."""
    span = int(FAR * SIDE)
    shape = picture.shape[:2]
    looks = sum(table[values] for table, values in zip(likelihood, _features(picture), strict=True))
    looks = np.clip(looks, -_CLIP, _CLIP)
    likeness = _correlate(looks - looks.mean(), _mask(boxes, shape), span)
    upright, level = _lines(boxes, shape)
    gray = picture.mean(axis=2)
    across, down = np.zeros(shape), np.zeros(shape)
    across[:, 1:-1] = np.log1p(np.abs(gray[:, 2:] - gray[:, :-2]))
    down[1:-1] = np.log1p(np.abs(gray[2:] - gray[:-2]))
    # A line may be a pixel beside its edge.
    across[:, 1:-1] = np.maximum(across[:, 1:-1], np.maximum(across[:, :-2], across[:, 2:]))
    down[1:-1] = np.maximum(down[1:-1], np.maximum(down[:-2], down[2:]))
    edges = _correlate(across - across.mean(), upright, span) + _correlate(down - down.mean(), level, span)
    limits = np.array([shape[1], shape[0]])
    beyond = np.concatenate([-boxes[:, :2], boxes[:, 2:] - limits], axis=1).max(axis=1) > 0.5
    cost = _ALONE if beyond.sum() == 1 < len(boxes) else _OUTSIDE
    total = _standard(likeness) + _EDGES * _standard(edges) - cost * _out(boxes, shape, span)
    y, x = np.unravel_index(int(total.argmax()), total.shape)
    return float(total[y, x] - total[span, span]), (int(x) - span, int(y) - span)


def _features(picture: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Returns what each pixel looks like, as numbers of bins: color and its distance from the image's, and detail."""
    values = picture.astype(np.float32)
    gray = values.mean(axis=2)
    slope = np.zeros_like(gray)
    slope[1:-1, 1:-1] = np.hypot(gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1])
    # The mean over 5 x 5 pixels, from sums over all above and to the left.
    sums = np.pad(np.pad(slope, 2, mode="edge").cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    around = (sums[5:, 5:] - sums[:-5, 5:] - sums[5:, :-5] + sums[:-5, :-5]) / 25
    own = values - np.median(values.reshape(-1, 3), axis=0)
    eighths = np.clip((own / (2 * values.std() + 1e-3) + 1.5) / 3 * 8, 0, 7.99).astype(np.int64)
    sixths = np.clip(values / 256 * 6, 0, 5.99).astype(np.int64)
    return [
        eighths @ np.array([64, 8, 1]),
        _logarithmic(np.sqrt((own**2).sum(axis=2)), 3),
        _logarithmic(np.clip(around, 0, None), 4),
        _logarithmic(slope, 4),
        sixths @ np.array([36, 6, 1]),
    ]


def _logarithmic(values: NDArray[np.float32], factor: float) -> NDArray[np.int64]:
    return np.clip(np.log1p(values) * factor, 0, 19).astype(np.int64)


def _mask(boxes: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Returns 1 where a box is; at least a pixel of each that lies in the picture."""
    covered = np.zeros(shape, dtype=np.float32)
    height, width = shape
    for left, top, right, bottom in np.rint(boxes).astype(np.int64).tolist():
        if left < width and top < height and right > 0 and bottom > 0:
            left, top = max(left, 0), max(top, 0)
            covered[top : max(bottom, top + 1), left : max(right, left + 1)] = 1
    return covered


def _lines(boxes: NDArray[np.float64], shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the sides of the boxes, each with the sum 1: upright ones and level ones; without those at the edge."""
    upright, level = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    height, width = shape
    for left, top, right, bottom in np.rint(boxes).astype(np.int64).tolist():
        for x in (left, right):
            if 2 <= x < width - 2:
                upright[max(top, 0) : max(bottom + 1, 0), x] += 1 / max(1, bottom - top)
        for y in (top, bottom):
            if 2 <= y < height - 2:
                level[y, max(left, 0) : max(right + 1, 0)] += 1 / max(1, right - left)
    return upright, level


def _out(boxes: NDArray[np.float64], shape: tuple[int, int], span: int) -> NDArray[np.float64]:
    """Returns the mean fraction of the boxes that lies out of the picture, for every place."""
    steps = np.arange(-span, span + 1)
    inside = []
    for low, high, side in ((boxes[:, 0], boxes[:, 2], shape[1]), (boxes[:, 1], boxes[:, 3], shape[0])):
        length = np.maximum(high - low, 1e-6)
        # Half a pixel is rounding.
        within = np.minimum(high[:, None] + steps, side + 0.5) - np.maximum(low[:, None] + steps, -0.5)
        inside.append(np.clip(within, 0, length[:, None]) / length[:, None])
    out: NDArray[np.float64] = 1 - inside[1].T @ inside[0] / len(boxes)
    return out


def _correlate(values: NDArray[np.float64], pattern: NDArray[np.float32], span: int) -> NDArray[np.float64]:
    """Returns the sum of the values under the pattern for every place, ``[2 span + 1, 2 span + 1]``."""
    side = 2 * span + 1
    # Zeros around the values, so that nothing comes back in at the other end.
    sides = (max(values.shape[0] + span, side), max(values.shape[1] + span, side))
    product = np.fft.rfft2(values, sides) * np.conj(np.fft.rfft2(pattern, sides))
    moved: NDArray[np.float64] = np.roll(np.fft.irfft2(product, sides), (span, span), (0, 1))[:side, :side]
    return moved


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    standard: NDArray[np.float64] = (values - values.mean()) / (values.std() + 1e-6)
    return standard
