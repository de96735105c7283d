"""Compiled 3 x 3 convolutions of stride 1 with less than half of the multiplications, tile by tile.

Four pixels of the output see sixteen of the input. Of sums and differences of the sixteen, and others of the nine
weights, sixteen products are enough for the four, where the definition has thirty-six; only rounding differs. Forward
and both gradients are the same products, between transforms that are each other's transpose.

Reference: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1, F(2x2, 3x3).
Differs: the gradients go back through the transforms instead of being convolutions of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.detectors.dense.gathering import Tiles
from mapopt.detectors.dense.norm_kernels import activate, normalize, normalize_backward
from mapopt.detectors.dense.product_kernels import outer, product, read_bias, sum_rows
from mapopt.vectors import fill, load, store

_Floats = NDArray[np.float32]


@compiled
def block_forward(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    tiles: Tiles,
    batch: int,
    group: int,
    epsilon: float,
    statistics: _Floats,
    out: _Floats,
) -> None:
    """Does what `mapopt.detectors.dense.lane_kernels.block_forward` does, with tiles for terms."""
    plane, pixels = tiles.forward.plane, len(tiles.inside)
    channels, rows = statistics.shape[1] * group, out.shape[1] // (pixels * batch)
    active = np.zeros(channels * tiles.padded, maps.dtype)
    read, written = np.empty(16 * channels * plane, maps.dtype), np.empty(16 * rows * plane, maps.dtype)
    packed, turned = _room(rows, channels, maps), _room(channels, rows, maps)
    nothing, bias = np.zeros(rows, maps.dtype), np.zeros(rows, maps.dtype)
    for lane in range(maps.shape[0]):
        own = weights[lane]
        normalize(maps[lane], own, places, tiles, batch, group, epsilon, statistics[lane], active)
        read_bias(own, places[3], bias)
        _transform_weights(own, places[2], rows, channels, packed, turned)
        _cut(active, channels, tiles, batch, read)
        product(packed, nothing, read, tiles.forward, written, rows)
        _join(written, rows, bias, tiles, batch, out[lane])


@compiled
def block_backward(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    tiles: Tiles,
    batch: int,
    group: int,
    statistics: _Floats,
    upstream: _Floats,
    gradient: _Floats,
    out: _Floats,
) -> None:
    """Does what `mapopt.detectors.dense.lane_kernels.block_backward` does, with tiles for terms."""
    plane, pixels = tiles.forward.plane, len(tiles.inside)
    channels, rows = statistics.shape[1] * group, upstream.shape[1] // (pixels * batch)
    active, passed = np.zeros(channels * tiles.padded, maps.dtype), np.empty(channels * pixels * batch, maps.dtype)
    read, written = np.empty(16 * channels * plane, maps.dtype), np.empty(16 * rows * plane, maps.dtype)
    packed, turned = _room(rows, channels, maps), _room(channels, rows, maps)
    products, bordered = np.empty(16 * rows * channels, maps.dtype), np.empty(tiles.padded, maps.dtype)
    nothing = np.zeros(channels, maps.dtype)
    for lane in range(maps.shape[0]):
        own, mine = weights[lane], gradient[lane]
        activate(maps[lane], own, places, statistics[lane], group, tiles, batch, active)
        _cut(active, channels, tiles, batch, read)
        _spread(upstream[lane], rows, tiles, batch, written)
        outer(written, read, tiles.forward, products, 0, rows)
        _transform_back(products, rows * channels, mine, places[2])
        if places[3] >= 0:
            sum_rows(upstream[lane], pixels * batch, mine, places[3], rows)
        _transform_weights(own, places[2], rows, channels, packed, turned)
        product(turned, nothing, written, tiles.backward, read, channels)
        _gather(read, channels, tiles, batch, bordered, passed)
        normalize_backward(passed, maps[lane], own, places, pixels, batch, group, statistics[lane], mine, out[lane])


@compiled
def _room(rows: int, taps: int, like: _Floats) -> _Floats:
    """Makes room for sixteen kernels as `product` reads them."""
    return np.empty(16 * ((rows + 3) // 4) * 4 * taps, like.dtype)


@compiled
def _transform_weights(
    weights: _Floats, kernel: int, rows: int, channels: int, packed: _Floats, turned: _Floats
) -> None:
    """Writes the sixteen sums of every kernel, packed for the products forward and for those backward."""
    half = weights.dtype.type(0.5)
    sums = np.empty((4, 3), weights.dtype)
    last = rows - 1
    step, turned_step = (rows + 3) // 4 * 4 * channels, (channels + 3) // 4 * 4 * rows
    for row in range(rows):
        for channel in range(channels):
            at = kernel + 9 * (row * channels + channel)
            for x in range(3):
                a, b, c = weights[at + x], weights[at + 3 + x] * half, weights[at + 6 + x]
                outside = (a + c) * half
                sums[0, x], sums[1, x], sums[2, x], sums[3, x] = a, outside + b, outside - b, c
            to = row // 4 * 4 * channels + 4 * channel + row % 4
            back = channel // 4 * 4 * rows + 4 * row + channel % 4
            for y in range(4):
                a, b, c = sums[y, 0], sums[y, 1] * half, sums[y, 2]
                outside = (a + c) * half
                packed[to], packed[to + step] = a, outside + b
                packed[to + 2 * step], packed[to + 3 * step] = outside - b, c
                turned[back], turned[back + turned_step] = a, outside + b
                turned[back + 2 * turned_step], turned[back + 3 * turned_step] = outside - b, c
                to, back = to + 4 * step, back + 4 * turned_step
    # Products take rows by fours; what would be beyond the last one is the last one once more.
    for row in range(rows, (rows + 3) // 4 * 4):
        for channel in range(channels):
            to = row // 4 * 4 * channels + 4 * channel
            for part in range(16):
                packed[to + row % 4 + part * step] = packed[to + last % 4 + part * step]
    for channel in range(channels, (channels + 3) // 4 * 4):
        for row in range(rows):
            to = channel // 4 * 4 * rows + 4 * row
            for part in range(16):
                turned[to + channel % 4 + part * turned_step] = turned[to + (channels - 1) % 4 + part * turned_step]


@compiled
def _transform_back(products: _Floats, pairs: int, gradient: _Floats, kernel: int) -> None:
    """Writes the gradient of every kernel, from that of its sixteen sums."""
    half = products.dtype.type(0.5)
    sums = np.empty((3, 4), products.dtype)
    for pair in range(pairs):
        for x in range(4):
            a, b = products[x * pairs + pair], products[(4 + x) * pairs + pair]
            c, d = products[(8 + x) * pairs + pair], products[(12 + x) * pairs + pair]
            both = (b + c) * half
            sums[0, x], sums[1, x], sums[2, x] = a + both, (b - c) * half, both + d
        at = kernel + 9 * pair
        for y in range(3):
            a, b, c, d = sums[y, 0], sums[y, 1], sums[y, 2], sums[y, 3]
            both = (b + c) * half
            gradient[at + 3 * y], gradient[at + 3 * y + 1], gradient[at + 3 * y + 2] = (
                a + both,
                (b - c) * half,
                both + d,
            )


@compiled
def _cut(maps: _Floats, channels: int, tiles: Tiles, batch: int, read: _Floats) -> None:
    """Cuts bordered maps into tiles, and writes the sixteen sums of each."""
    step, line = channels * tiles.forward.plane, tiles.line * batch
    for channel in range(channels):
        for tile in range(tiles.down * tiles.across):
            y, x = 2 * (tile // tiles.across), 2 * (tile % tiles.across)
            for image in range(0, batch, 8):
                at = channel * tiles.padded + y * line + x * batch + image
                to = channel * tiles.forward.plane + tile * batch + image
                a0, b0, c0, d0 = _differences(maps, at, line)
                a1, b1, c1, d1 = _differences(maps, at + batch, line)
                a2, b2, c2, d2 = _differences(maps, at + 2 * batch, line)
                a3, b3, c3, d3 = _differences(maps, at + 3 * batch, line)
                _store_differences(read, to, step, a0, a1, a2, a3)
                _store_differences(read, to + 4 * step, step, b0, b1, b2, b3)
                _store_differences(read, to + 8 * step, step, c0, c1, c2, c3)
                _store_differences(read, to + 12 * step, step, d0, d1, d2, d3)


@compiled
def _differences(maps, at, step):  # type: ignore[no-untyped-def]
    a, b, c, d = load(maps, at), load(maps, at + step), load(maps, at + 2 * step), load(maps, at + 3 * step)
    return a - c, b + c, c - b, b - d


@compiled
def _store_differences(read, to, step, a, b, c, d):  # type: ignore[no-untyped-def]
    store(read, to, a - c)
    store(read, to + step, b + c)
    store(read, to + 2 * step, c - b)
    store(read, to + 3 * step, b - d)


@compiled
def _join(written: _Floats, rows: int, bias: _Floats, tiles: Tiles, batch: int, out: _Floats) -> None:
    """Writes the pixels of the output, from the sixteen products of each tile."""
    plane, line = tiles.forward.plane, tiles.width * batch
    step = rows * plane
    for row in range(rows):
        start = fill(bias[row])
        for tile in range(tiles.down * tiles.across):
            y, x = 2 * (tile // tiles.across), 2 * (tile % tiles.across)
            right, below = x + 1 < tiles.width, y + 1 < tiles.height
            for image in range(0, batch, 8):
                at = row * plane + tile * batch + image
                to = row * tiles.height * line + y * line + x * batch + image
                a0, b0 = _pair(written, at, 4 * step)
                a1, b1 = _pair(written, at + step, 4 * step)
                a2, b2 = _pair(written, at + 2 * step, 4 * step)
                a3, b3 = _pair(written, at + 3 * step, 4 * step)
                store(out, to, start + a0 + a1 + a2)
                if right:
                    store(out, to + batch, start + a1 - a2 - a3)
                if below:
                    store(out, to + line, start + b0 + b1 + b2)
                if right and below:
                    store(out, to + line + batch, start + b1 - b2 - b3)


@compiled
def _pair(written, at, step):  # type: ignore[no-untyped-def]
    b, c = load(written, at + step), load(written, at + 2 * step)
    return load(written, at) + b + c, b - c - load(written, at + 3 * step)


@compiled
def _spread(upstream: _Floats, rows: int, tiles: Tiles, batch: int, written: _Floats) -> None:
    """Writes the gradient of the sixteen products of each tile; `_join`, transposed."""
    plane, line = tiles.forward.plane, tiles.width * batch
    step = rows * plane
    zero = fill(upstream.dtype.type(0))
    for row in range(rows):
        for tile in range(tiles.down * tiles.across):
            y, x = 2 * (tile // tiles.across), 2 * (tile % tiles.across)
            right, below = x + 1 < tiles.width, y + 1 < tiles.height
            for image in range(0, batch, 8):
                at = row * tiles.height * line + y * line + x * batch + image
                to = row * plane + tile * batch + image
                a = load(upstream, at)
                b = c = d = zero
                if right:
                    b = load(upstream, at + batch)
                if below:
                    c = load(upstream, at + line)
                if right and below:
                    d = load(upstream, at + line + batch)
                _store_pair(written, to, step, a, b)
                _store_pair(written, to + 4 * step, step, a + c, b + d)
                _store_pair(written, to + 8 * step, step, a - c, b - d)
                _store_pair(written, to + 12 * step, step, zero - c, zero - d)


@compiled
def _store_pair(written, to, step, a, b):  # type: ignore[no-untyped-def]
    store(written, to, a)
    store(written, to + step, a + b)
    store(written, to + 2 * step, a - b)
    store(written, to + 3 * step, fill(written.dtype.type(0)) - b)


@compiled
def _gather(read: _Floats, channels: int, tiles: Tiles, batch: int, bordered: _Floats, out: _Floats) -> None:
    """Adds up the gradients of the maps, tile by tile; `_cut`, transposed."""
    plane, line = tiles.forward.plane, tiles.line * batch
    step, pixels = channels * plane, len(tiles.inside)
    zero = fill(read.dtype.type(0))
    for channel in range(channels):
        for place in range(0, tiles.padded, 8):
            store(bordered, place, zero)
        for tile in range(tiles.down * tiles.across):
            y, x = 2 * (tile // tiles.across), 2 * (tile % tiles.across)
            for image in range(0, batch, 8):
                at, to = channel * plane + tile * batch + image, y * line + x * batch + image
                a0, b0, c0, d0 = _turn_back(read, at, 4 * step)
                a1, b1, c1, d1 = _turn_back(read, at + step, 4 * step)
                a2, b2, c2, d2 = _turn_back(read, at + 2 * step, 4 * step)
                a3, b3, c3, d3 = _turn_back(read, at + 3 * step, 4 * step)
                _add_back(bordered, to, batch, a0, a1, a2, a3)
                _add_back(bordered, to + line, batch, b0, b1, b2, b3)
                _add_back(bordered, to + 2 * line, batch, c0, c1, c2, c3)
                _add_back(bordered, to + 3 * line, batch, d0, d1, d2, d3)
        for pixel in range(pixels):
            for image in range(0, batch, 8):
                store(out, (channel * pixels + pixel) * batch + image, load(bordered, tiles.inside[pixel] + image))


@compiled
def _turn_back(read, at, step):  # type: ignore[no-untyped-def]
    a, b, c, d = load(read, at), load(read, at + step), load(read, at + 2 * step), load(read, at + 3 * step)
    return a, b - c + d, b + c - a, fill(read.dtype.type(0)) - d


@compiled
def _add_back(bordered, to, step, a, b, c, d):  # type: ignore[no-untyped-def]
    store(bordered, to, load(bordered, to) + a)
    store(bordered, to + step, load(bordered, to + step) + (b - c + d))
    store(bordered, to + 2 * step, load(bordered, to + 2 * step) + (b + c - a))
    store(bordered, to + 3 * step, load(bordered, to + 3 * step) - d)
