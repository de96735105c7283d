"""Paints procedural scenes: textured backgrounds, then shapes from the front one backwards, then sensor noise.

Painting from front to back keeps how much of each pixel is still free. So what a shape would show is known before
anything of it is painted, and one that would be hidden too much is left out, of the picture and of the ground truth.
The costly part, coverage and shading, is computed for all shapes of many scenes at once; only compositing is a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mapopt.data.outlines import EXTENT, distance_tables

Floats = NDArray[np.float32]

_BORDER = 1.5
"""Pixels around a shape's box in which its smooth edge may still show."""
_GRAIN = 8
"""Patches come in sizes of this many pixels, so that shapes of about one size are computed together."""
_SLACK = 0.02
"""What smooth edges may add to the hidden part of a shape."""


@dataclass(frozen=True)
class Layers:
    """Shapes of several scenes, sorted by scene and from front to back; one entry each.

    Attributes:
        scene: int64 ``[L]``, which scene.
        outline: int64 ``[L]``, row in the distance tables.
        boxes: ``[L, 4]``, corners in pixels; they may reach out of the scene.
        origin: ``[L, 2]``, where the unit frame's origin lies, in pixels.
        to_unit: ``[L, 2, 2]``, from pixels (relative to the origin) to the unit frame.
        unit: ``[L]``, pixels that one unit of the frame measures, on the geometric mean.
        color: ``[L, 3]``, in 0 to 1.
        light: ``[L, 2]``, how brightness changes per pixel to the right and down.
        stripes: ``[L, 4]``, amplitude, phase, and cycles per pixel to the right and down.
        max_hidden: ``[L]``, the largest part that may be hidden; more, and the shape is left out.
    """

    scene: NDArray[np.int64]
    outline: NDArray[np.int64]
    boxes: NDArray[np.float64]
    origin: NDArray[np.float64]
    to_unit: NDArray[np.float64]
    unit: NDArray[np.float64]
    color: NDArray[np.float64]
    light: NDArray[np.float64]
    stripes: NDArray[np.float64]
    max_hidden: NDArray[np.float64]


def paint(background: Floats, layers: Layers, *, largest: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Paints shapes on backgrounds.

    Args:
        background: ``[scenes, 3, S, S]``, in 0 to 1.
        layers: the shapes.
        largest: the longest side, in pixels, that any shape may have: how fine edges must be known.

    Returns:
        The pictures ``[scenes, 3, S, S]``, and ``[L]`` False where a shape was left out.
    """
    scenes, _, size, _ = background.shape
    picture = np.zeros_like(background)
    free = np.ones((scenes, 1, size, size), dtype=np.float32)
    # How fine the tables are must not depend on the shapes at hand: a scene is the same whatever is painted with it.
    cover, shade, corner = _patches(layers, distance_tables(_cells(largest)))
    painted = np.zeros(len(layers.scene), dtype=bool)
    color = layers.color.astype(np.float32)[:, :, None, None]
    min_visible = (1 - layers.max_hidden - _SLACK).tolist()
    for index, (scene, (left, top)) in enumerate(zip(layers.scene.tolist(), corner, strict=True)):
        alpha = cover[index]
        right, bottom = left + alpha.shape[1], top + alpha.shape[0]
        x, y = max(left, 0), max(top, 0)
        if x >= min(right, size) or y >= min(bottom, size):
            continue
        window = (scene, slice(None), slice(y, min(bottom, size)), slice(x, min(right, size)))
        part = (slice(y - top, min(bottom, size) - top), slice(x - left, min(right, size) - left))
        shown = alpha[part] * free[window]
        if float(shown.sum()) < min_visible[index] * float(alpha.sum()):
            continue
        painted[index] = True
        picture[window] += color[index] * (shown * shade[index][part])
        free[window] -= shown
    picture += free * background
    return picture, painted


def backgrounds(numbers: NDArray[np.float64], *, size: int) -> tuple[Floats, Floats]:
    """Draws backgrounds: a gradient between two colors, and waves of several lengths over it.

    Args:
        numbers: ``[scenes, BACKGROUND_NUMBERS]``, uniform in 0 to 1.
        size: pixels of a side.

    Returns:
        ``[scenes, 3, size, size]`` in 0 to 1, and the mean colors ``[scenes, 3]``.
    """
    base = 0.12 + 0.76 * numbers[:, 0:3]
    change = 0.5 * (numbers[:, 3:6] - 0.5)
    angle = 2 * np.pi * numbers[:, 6]
    where = (np.arange(size) + 0.5) / size - 0.5
    # A wave sin(ax + by) is sin(ax)cos(by) + cos(ax)sin(by): all waves of a scene are one small matrix product.
    waves = numbers[:, 8:].reshape(len(numbers), -1, 4)
    cycles = 1.5 * (size / 4 / 1.5) ** waves[:, :, 0]
    turn, phase = np.pi * waves[:, :, 1], 2 * np.pi * waves[:, :, 2]
    strength = 0.11 * numbers[:, 7:8] * waves[:, :, 3]
    across = 2 * np.pi * (cycles * np.cos(turn))[:, :, None] * where + phase[:, :, None]
    down = 2 * np.pi * (cycles * np.sin(turn))[:, :, None] * where
    rows = np.concatenate([np.cos(down), np.sin(down)], axis=1) * np.concatenate([strength] * 2, axis=1)[:, :, None]
    columns = np.concatenate([np.sin(across), np.cos(across)], axis=1)
    texture = np.matmul(rows.transpose(0, 2, 1).astype(np.float32), columns.astype(np.float32))[:, None]
    slope = np.cos(angle)[:, None] * where, np.sin(angle)[:, None] * where
    gradient = (slope[0][:, None, :] + slope[1][:, :, None]).astype(np.float32)[:, None]
    colors = base.astype(np.float32)
    return (
        colors[:, :, None, None] + gradient * change.astype(np.float32)[:, :, None, None] * 1.4 + texture,
        colors,
    )


BACKGROUND_NUMBERS = 8 + 5 * 4
"""Uniform numbers that one background takes: colors, gradient, and five waves of four numbers."""


def sensor_noise(seed: int, start: int, count: int, *, size: int, strength: float) -> Floats:
    """Returns normal noise of standard deviation `strength` for scenes from `start` on, ``[count, 3, size, size]``."""
    numbers = 3 * size * size
    words = np.empty((count, -(-numbers // 4)), dtype=np.uint64)
    for offset in range(count):
        words[offset] = np.random.Philox(key=np.array([seed, start + offset], dtype=np.uint64)).random_raw(
            words.shape[1]
        )
    steps = words.view(np.uint16)[:, :numbers]
    return (_normal_quantiles() * np.float32(strength))[steps].reshape(count, 3, size, size)


@lru_cache(maxsize=1)
def _normal_quantiles() -> Floats:
    """Returns the normal quantile of each 16-bit number: noise by one look-up, from bits that never change."""
    levels = (torch.arange(65536, dtype=torch.float64) + 0.5) / 65536
    return torch.special.ndtri(levels).to(torch.float32).numpy()


def _patches(layers: Layers, tables: Floats) -> tuple[list[Floats], list[Floats], list[tuple[int, int]]]:
    """Returns each shape's coverage and shade ``[p, p]`` on a patch around it, and the patch's left top pixel."""
    count = len(layers.scene)
    cover: list[Floats] = [np.zeros((0, 0), dtype=np.float32)] * count
    shade: list[Floats] = list(cover)
    sides = (layers.boxes[:, 2:] - layers.boxes[:, :2]).max(axis=1, initial=0.0)
    patch = (np.ceil((sides + 2 * _BORDER + 1) / _GRAIN) * _GRAIN).astype(np.int64)
    middle = (layers.boxes[:, :2] + layers.boxes[:, 2:]) / 2
    corner = np.floor(middle - patch[:, None] / 2 + 0.5).astype(np.int64)
    for pixels in np.unique(patch).tolist():
        group = np.flatnonzero(patch == pixels)
        for first in range(0, len(group), 256):
            members = group[first : first + 256]
            alphas, shades = _patch_group(layers, members, pixels, corner[members], tables)
            for index, member in enumerate(members.tolist()):
                cover[member], shade[member] = alphas[index], shades[index]
    return cover, shade, [(int(x), int(y)) for x, y in corner.tolist()]


def _patch_group(
    layers: Layers, members: NDArray[np.int64], pixels: int, corner: NDArray[np.int64], tables: Floats
) -> tuple[Floats, Floats]:
    """Returns coverage and shade ``[m, pixels, pixels]`` of some shapes with patches of one size."""
    grid = np.arange(pixels) + 0.5
    # [m, 2, pixels]: distance of the patch's columns (x) and rows (y) from the shape's origin.
    offset = corner[:, :, None] + grid - layers.origin[members][:, :, None]
    across, down = offset[:, 0, None, :], offset[:, 1, :, None]
    cells = tables.shape[1]
    matrix = layers.to_unit[members] * (cells / (2 * EXTENT))

    def separable(right: NDArray[np.float64], below: NDArray[np.float64], start: float | NDArray = 0.0) -> Floats:
        return (right * across + start).astype(np.float32) + (below * down).astype(np.float32)

    def cell(row: int) -> NDArray[np.int32]:
        place = separable(matrix[:, row, 0, None, None], matrix[:, row, 1, None, None], cells / 2)
        return np.clip(place, 0, cells - 1, out=place).astype(np.int32)

    where = cell(1)
    where *= cells
    where += cell(0)
    where += (layers.outline[members] * cells * cells).astype(np.int32)[:, None, None]
    distance = np.take(tables.reshape(-1), where)
    distance *= layers.unit[members].astype(np.float32)[:, None, None]
    alpha = np.clip(0.5 - distance, 0, 1)
    light, stripes = layers.light[members][:, :, None, None], layers.stripes[members][:, :, None, None]
    shade = separable(light[:, 0], light[:, 1], 1.0)
    wave = separable(stripes[:, 2], stripes[:, 3], stripes[:, 1])
    wave -= np.floor(wave)
    shade += np.where(wave < 0.5, np.float32(0), stripes[:, 0].astype(np.float32))
    # A darker rim of about a pixel, as on anything round that is lit from the front.
    shade -= 0.3 * np.clip(1 + 0.5 * distance, 0, 1)
    return alpha, shade


def _cells(largest: float) -> int:
    """Returns how many cells a distance table needs for a look-up to be wrong by about a fifth of a pixel at most."""
    return int(min(1024, 2 ** np.ceil(np.log2(max(64.0, 2 * EXTENT * largest)))))
