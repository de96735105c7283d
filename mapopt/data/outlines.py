"""Defines the shapes of the procedural scenes: the classes to detect, and the clutter that is none of them.

A shape is a closed polygon in a unit frame. What painting needs of it is a table of signed distances to its edge
(negative inside), looked up at the turned and stretched coordinates of each pixel: one gather for every shape alike,
and smooth edges for nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    *("disc", "box", "triangle", "ring", "cross", "star"),
    *("hexagon", "half-disc", "arrow", "hourglass", "angle", "gear"),
)
"""Names of the classes, in the order a scene takes them."""
CLUTTER = ("line", "bar", "drop", "crescent", "cloud", "rag")
"""Names of the distractors. They follow the classes in every table."""
EXTENT = 1.5
"""A distance table covers -EXTENT to EXTENT of the unit frame in both directions."""

_POINTS = 48
_RING_HOLE = 0.55


@lru_cache(maxsize=1)
def outline_points() -> NDArray[np.float64]:
    """Returns points on the edge of each shape, ``[shapes, 48, 2]``: enough to bound it when it is turned."""
    return np.stack([_resample(_polygon(name)) for name in (*CLASSES, *CLUTTER)])


@lru_cache(maxsize=4)
def distance_tables(cells: int) -> NDArray[np.float32]:
    """Returns the signed distance to each shape's edge at the cells' centers, ``[shapes, cells (y), cells (x)]``."""
    centers = ((np.arange(cells) + 0.5) / cells * 2 - 1) * EXTENT
    x, y = np.meshgrid(centers, centers)
    tables = []
    for name in (*CLASSES, *CLUTTER):
        if name in ("disc", "ring"):
            radius = np.hypot(x, y)
            tables.append(np.maximum(radius - 1, _RING_HOLE - radius) if name == "ring" else radius - 1)
        else:
            tables.append(_signed_distance(x, y, _polygon(name)))
    return np.stack(tables).astype(np.float32)


def _polygon(name: str) -> NDArray[np.float64]:
    """Returns a shape's corners, ``[n, 2]``, within about 1 of the origin."""
    turn = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    if name in ("disc", "ring"):
        return _polar(turn, np.ones_like(turn))
    if name == "box":
        return np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
    if name == "triangle":
        return _polar(np.pi / 2 + np.arange(3) * 2 * np.pi / 3, np.ones(3))
    if name == "cross":
        arm = 0.33
        quarter = np.array([(arm, arm), (arm, 1.0), (-arm, 1.0)])
        turns = [np.array([(0, -1), (1, 0)]), np.array([(-1, 0), (0, -1)]), np.array([(0, 1), (-1, 0)])]
        return np.concatenate([quarter, *(quarter @ turn.T for turn in turns)])
    if name == "star":
        return _polar(np.pi / 2 + np.arange(10) * np.pi / 5, np.where(np.arange(10) % 2 == 0, 1.0, 0.42))
    if name == "hexagon":
        return _polar(np.arange(6) * np.pi / 3, np.ones(6))
    if name == "half-disc":
        return _polar(np.linspace(0, np.pi, 25), np.ones(25)) - np.array([0.0, 0.4])
    if name == "arrow":
        return np.array(
            [(1.0, 0.0), (0.2, 0.75), (0.2, 0.3), (-0.9, 0.3), (-0.9, -0.3), (0.2, -0.3), (0.2, -0.75)],
        )
    if name == "hourglass":
        return np.array([(-0.8, -0.8), (0.8, -0.8), (0.2, 0.0), (0.8, 0.8), (-0.8, 0.8), (-0.2, 0.0)])
    if name == "angle":
        return np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, -0.2), (-0.2, -0.2), (-0.2, 0.8), (-0.8, 0.8)])
    if name == "gear":
        return _polar(
            np.repeat(np.arange(16), 2) * np.pi / 8 + np.tile([0, np.pi / 8], 16), np.repeat(np.tile([1.0, 0.7], 8), 2)
        )
    if name == "line":
        return np.array([(-1.0, -0.05), (1.0, -0.05), (1.0, 0.05), (-1.0, 0.05)])
    if name == "bar":
        return np.array([(-1.0, -0.16), (1.0, -0.1), (1.0, 0.1), (-1.0, 0.16)])
    if name == "drop":
        return _polar(turn, 0.55 + 0.45 * np.cos(turn / 2) ** 8)
    if name == "crescent":
        outer, inner = np.linspace(0.6, 2 * np.pi - 0.6, 28), np.linspace(2 * np.pi - 0.75, 0.75, 20)
        hollow = _polar(inner, np.full(20, 0.78)) + np.array([0.2, 0.0])
        return np.concatenate([_polar(outer, np.ones(28)), hollow])
    if name == "cloud":
        return _polar(turn, 0.7 + 0.2 * np.cos(3 * turn) + 0.1 * np.sin(5 * turn + 1))
    return _polar(turn, 0.6 + 0.22 * np.cos(2 * turn) + 0.12 * np.sin(7 * turn) + 0.1 * np.cos(3 * turn + 2))


def _polar(angles: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def _resample(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the corners, repeated to one number of points for all shapes."""
    return corners[np.arange(_POINTS) % len(corners)]


def _signed_distance(
    x: NDArray[np.float64], y: NDArray[np.float64], corners: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the distance of each point to a polygon's edge, negative inside (even-odd rule)."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = np.clip(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2), 0, 1)
        nearest = np.minimum(nearest, (x - x1 - along * (x2 - x1)) ** 2 + (y - y1 - along * (y2 - y1)) ** 2)
        if y1 != y2:
            crosses = (y1 <= y) != (y2 <= y)
            inside ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return np.where(inside, -1, 1) * np.sqrt(nearest)
