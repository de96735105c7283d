"""Flips, turns, rotation and perspective: one matrix for all of them, so that an image is resampled once.

The matrix is a homography of pixel coordinates, whose pixels have their centers at halves; torchvision's `perspective`
does the resampling. Scale, crop and the flip to the other side are those that are always there, with antialiasing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torchvision.transforms.v2 import functional as v2

from mapopt.data.augmentation.pictures import Floats, Picture
from mapopt.data.augmentation.settings import Augmentation

GRAY = 114.0
"""What is outside of an image."""


def homography(
    given: Augmentation, numbers: Mapping[str, Floats], happens: Mapping[str, bool], size: tuple[int, int]
) -> Floats | None:
    """Returns the matrix ``[3, 3]`` from a sample's coordinates to those it is moved to; None where it stays.

    Args:
        given: the settings.
        numbers: uniform random ones of every kind that may happen; the first says whether it does.
        happens: whether each does.
        size: (height, width) of the frame.
    """
    height, width = size
    moved = False
    matrix = np.eye(3)
    center = np.array([[1.0, 0.0, width / 2], [0.0, 1.0, height / 2], [0.0, 0.0, 1.0]])
    if happens.get("flip_vertical"):
        matrix, moved = np.diag([1.0, -1.0, 1.0]) @ matrix, True
    if happens.get("quarter_turns"):
        matrix, moved = _quarter_turns(1 + int(3 * numbers["quarter_turns"][1]), size) @ matrix, True
    if happens.get("rotate"):
        matrix, moved = _rotation(np.deg2rad(given.rotate * (2 * numbers["rotate"][1] - 1))) @ matrix, True
    if not moved and not happens.get("perspective"):
        return None
    matrix = center @ matrix @ np.linalg.inv(center)
    if happens.get("perspective"):
        inwards = given.perspective / 2 * numbers["perspective"][1:].reshape(4, 2) * (width, height)
        matrix = _through(_corners(size), _corners(size) + inwards * ((1, 1), (-1, 1), (-1, -1), (1, -1))) @ matrix
    return matrix


def warp(picture: Picture, matrix: Floats, *, minimum: float) -> Picture:
    """Moves an image and its boxes by a homography; a box becomes the one around its moved corners.

    Args:
        picture: what to move.
        matrix: ``[3, 3]``, from its coordinates to the new ones.
        minimum: see `Objects.changed`.
    """
    height, width = picture.size
    back = np.linalg.inv(matrix)
    back /= back[2, 2]
    # The difference from gray: with a fill, torchvision weighs the pixels of the edge twice, and they become dark.
    moved = v2.perspective(picture.pixels.float().sub_(GRAY), None, None, coefficients=back.ravel()[:8].tolist())
    pixels = moved.add_(GRAY).round_().to(torch.uint8)
    x1, y1, x2, y2 = picture.objects.boxes.T
    corners = np.stack([np.stack([x, y, np.ones_like(x)]) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))], -1)
    x, y, depth = np.einsum("ij,jgk->igk", matrix, corners)
    x, y = x / depth, y / depth
    around = np.stack([x.min(-1), y.min(-1), x.max(-1), y.max(-1)], axis=-1)
    objects = picture.objects.clipped(around, (0.0, 0.0, float(width), float(height)), minimum=minimum)
    # What is image now is no upright rectangle any more.
    return Picture(pixels, objects, (width, height))


def _rotation(angle: float) -> Floats:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _quarter_turns(count: int, size: tuple[int, int]) -> Floats:
    """Returns turns by 90 degrees, exactly; by an odd number of them an image shrinks until it fits into its frame."""
    sine, cosine = ((1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))[count - 1]
    scale = min(size) / max(size) if count % 2 else 1.0
    return np.array([[scale * cosine, -scale * sine, 0.0], [scale * sine, scale * cosine, 0.0], [0.0, 0.0, 1.0]])


def _corners(size: tuple[int, int]) -> Floats:
    height, width = size
    return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])


def _through(start: Floats, end: Floats) -> Floats:
    """Returns the homography that leads four points to four others, ``[4, 2]`` each."""
    rows, values = [], []
    for (x, y), (u, v) in zip(start, end, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)
