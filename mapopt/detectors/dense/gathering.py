"""Where the terms of a convolution stand in memory: tables of offsets, with which one compiled product does them all.

Maps lie as ``[channels, height, width, batch]``, so that a pixel is as many numbers side by side as there are images:
whole vectors, whatever the map's size. A convolution is then a matrix product whose right-hand matrix is never made:
the term of a tap (input channel and place in the kernel) and a column (eight images of an output pixel) begins at the
tap's offset plus the column's. The gradient of the input is a product of the same kind for each class of pixels that
are the same number of pixels beyond a multiple of the stride.

All offsets count numbers. A map that is convolved with a 3 x 3 kernel has a border of zeros, one pixel wide.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Offsets = NDArray[np.int64]

VECTOR = 8
"""Images that are computed together; a batch is filled up to a multiple of it."""


class Gather(NamedTuple):
    """The terms of one or several matrix products, of which each has its part of the taps and of the columns.

    What is read and what is written are a map with and one without border, or the other way round.
    """

    weights: _Offsets
    """``[taps]`` of a tap's weight, from that of the first."""
    taps: _Offsets
    """``[taps]`` in what is read."""
    columns: _Offsets
    """``[columns]`` in what is read."""
    places: _Offsets
    """``[columns]`` in what is written."""
    tap_ends: _Offsets
    """``[products]`` where in `weights` and `taps` each product's part ends."""
    column_ends: _Offsets
    """``[products]`` where in `columns` and `places` each product's part ends."""
    row: int
    """Weights between an output channel and the next."""
    plane: int
    """Numbers between the output channels in what is written."""


class Terms(NamedTuple):
    """Everything that a convolution reads and writes, as offsets."""

    forward: Gather
    backward: Gather
    """From the gradient of the output, with a border, to that of the input."""
    inside: _Offsets
    """``[pixels of the input]`` of each pixel in the bordered map."""
    inside_gradient: _Offsets
    """``[pixels of the output]`` of each pixel in the bordered gradient."""
    padded: int
    """Numbers in a channel of the bordered map."""
    padded_gradient: int
    """Numbers in a channel of the bordered gradient."""


class Tiles(NamedTuple):
    """Everything that a 3 x 3 convolution of stride 1 reads and writes when it is computed tile by tile.

    A tile is 2 x 2 pixels of the output and the 4 x 4 pixels of the input that they see. Tiles lie as
    ``[16, channels, tiles, batch]``: sixteen numbers that are sums and differences of a tile's pixels.
    """

    forward: Gather
    """The sixteen products of transformed weights with tiles of the input."""
    backward: Gather
    """From gradients of the output's tiles to those of the input's."""
    inside: _Offsets
    """``[pixels]`` of each pixel in the bordered map."""
    padded: int
    """Numbers in a channel of the bordered map, which has room for whole tiles."""
    line: int
    """Pixels in a line of it."""
    down: int
    """Tiles from top to bottom."""
    across: int
    """Tiles from left to right."""
    height: int
    """Of the map, in pixels."""
    width: int
    """Of the map, in pixels."""


@lru_cache(maxsize=64)
def tiles_of(channels: int, outputs: int, size: tuple[int, int], *, batch: int) -> Tiles:
    """Lists the terms of a 3 x 3 convolution of stride 1, tile by tile; arguments as in `terms_of`."""
    height, width = size
    down, across = -(-height // 2), -(-width // 2)
    line, plane = 2 * across + 2, down * across * batch
    steps, part = np.arange(0, plane, VECTOR), np.arange(16)
    reads, writes = part * channels * plane, part * outputs * plane
    kernels = part * outputs * channels
    forward = _gather(
        [start + np.arange(channels) for start in kernels],
        [start + np.arange(channels) * plane for start in reads],
        [steps] * 16,
        [start + steps for start in writes],
        row=channels,
        plane=plane,
    )
    backward = _gather(
        [start + np.arange(outputs) * channels for start in kernels],
        [start + np.arange(outputs) * plane for start in writes],
        [steps] * 16,
        [start + steps for start in reads],
        row=1,
        plane=plane,
    )
    inside = np.add.outer((np.arange(height) + 1) * line, np.arange(width) + 1).reshape(-1) * batch
    padded = (2 * down + 2) * line * batch
    return Tiles(forward, backward, inside.astype(np.int64), padded, line, down, across, height, width)


@lru_cache(maxsize=64)
def terms_of(
    channels: int, outputs: int, size: tuple[int, int], *, batch: int, kernel: int = 3, stride: int = 1
) -> Terms:
    """Lists the terms of a convolution with a border of half a kernel.

    Args:
        channels: of the input.
        outputs: channels of the output.
        size: height and width of the input.
        batch: images, a multiple of `VECTOR`.
        kernel: height and width of the kernel, 1 or 3.
        stride: pixels of the input between pixels of the output.
    """
    border = kernel // 2
    height, width = size
    rows, columns = ((side - 1) // stride + 1 for side in size)
    line, gradient_line = width + 2 * border, columns + 2 * border
    padded, padded_gradient = (height + 2 * border) * line, (rows + 2 * border) * gradient_line

    def offsets(*parts: _Offsets | int) -> _Offsets:
        """Adds up offsets in pixels along one axis each; the result counts numbers."""
        total: _Offsets = np.zeros((), np.int64)
        for part in parts:
            total = np.add.outer(total, np.asarray(part, np.int64))
        return total.reshape(-1) * batch

    def vectors(pixels: _Offsets) -> _Offsets:
        return np.add.outer(pixels, np.arange(0, batch, VECTOR)).reshape(-1)

    area, step = kernel * kernel, np.arange(kernel)
    forward = _gather(
        [np.arange(channels * area)],
        [offsets(np.arange(channels) * padded, step * line, step)],
        [vectors(offsets(np.arange(rows) * stride * line, np.arange(columns) * stride))],
        [vectors(offsets(np.arange(rows) * columns, np.arange(columns)))],
        row=channels * area,
        plane=rows * columns * batch,
    )
    parts: tuple[list[_Offsets], ...] = ([], [], [], [])
    for top in range(min(stride, height)):
        for left in range(min(stride, width)):
            # An output pixel whose kernel begins `border` pixels before it meets a pixel of the class with the taps
            # that are a multiple of the stride away.
            down, right = ([tap for tap in step if (first + border - tap) % stride == 0] for first in (top, left))
            shift_y, shift_x = (
                np.array([(first + border - tap) // stride + border for tap in taps])
                for first, taps in ((top, down), (left, right))
            )
            y, x = np.arange(top, height, stride), np.arange(left, width, stride)
            kernel_place = np.add.outer(np.array(down) * kernel, np.array(right)).reshape(-1)
            shift = np.add.outer(shift_y * gradient_line, shift_x).reshape(-1)
            parts[0].append(np.add.outer(np.arange(outputs) * channels * area, kernel_place).reshape(-1))
            parts[1].append(offsets(np.arange(outputs) * padded_gradient, shift))
            parts[2].append(vectors(offsets(y // stride * gradient_line, x // stride)))
            parts[3].append(vectors(offsets(y * width, x)))
    return Terms(
        forward,
        _gather(*parts, row=area, plane=height * width * batch),
        offsets((np.arange(height) + border) * line, np.arange(width) + border),
        offsets((np.arange(rows) + border) * gradient_line, np.arange(columns) + border),
        padded * batch,
        padded_gradient * batch,
    )


@lru_cache(maxsize=64)
def patch_terms(channels: int, size: tuple[int, int], *, batch: int, patch: int) -> Gather:
    """Lists the terms of a product with patches that do not overlap; other arguments as in `terms_of`."""
    height, width = size
    rows, columns = height // patch, width // patch
    channel, y, x = np.meshgrid(np.arange(channels), np.arange(patch), np.arange(patch), indexing="ij")
    taps = ((channel * height + y) * width + x).reshape(-1) * batch
    pixels = np.add.outer(np.arange(rows) * patch * width, np.arange(columns) * patch).reshape(-1) * batch
    steps = np.arange(0, batch, VECTOR)
    return _gather(
        [np.arange(len(taps))],
        [taps],
        [np.add.outer(pixels, steps).reshape(-1)],
        [np.add.outer(np.arange(rows * columns) * batch, steps).reshape(-1)],
        row=len(taps),
        plane=rows * columns * batch,
    )


def _gather(
    weights: list[_Offsets],
    taps: list[_Offsets],
    columns: list[_Offsets],
    places: list[_Offsets],
    *,
    row: int,
    plane: int,
) -> Gather:
    joined = [np.concatenate(parts).astype(np.int64) for parts in (weights, taps, columns, places)]
    tap_ends, column_ends = (np.cumsum([len(part) for part in parts]).astype(np.int64) for parts in (taps, columns))
    return Gather(joined[0], joined[1], joined[2], joined[3], tap_ends, column_ends, row, plane)
