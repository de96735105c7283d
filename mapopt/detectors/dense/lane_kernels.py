"""Compiled loops of the tiny network: products with gathered columns, and group normalization, lane by lane.

One product does every convolution, forward and backward; see `mapopt.detectors.dense.gathering` for what its offsets
mean. Four output channels and three columns are added up at once, in twelve registers: as many multiplications as a
processor with 16 vector registers can do for seven loads. Nothing of a lane depends on another one, not even the order
in which its terms are added, and what one lane needs in between stays in the cache. Imported when the first images
come to a network, because numba costs 0.4 s to import and seconds to compile the first time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.detectors.dense.gathering import Gather, Terms
from mapopt.vectors import (
    fill,
    high_pairs,
    load,
    low_pairs,
    multiply_add,
    root,
    store,
    total,
    where_positive,
)

_Floats = NDArray[np.float32]
_Offsets = NDArray[np.int64]


@compiled
def patches_forward(
    images: _Floats,
    scale: _Floats,
    shift: _Floats,
    weights: _Floats,
    kernel: int,
    terms: Gather,
    batch: int,
    out: _Floats,
) -> None:
    """Multiplies the patches of images with the kernels of every lane.

    Args:
        images: ``[lanes, batch, channels, h, w]``.
        scale: ``[channels]`` by which a pixel is multiplied first.
        shift: ``[channels]`` that is then added.
        weights: ``[lanes, n]``.
        kernel: where in a lane's weights those of the kernel begin.
        terms: of the product.
        batch: images, filled up to a multiple of 8.
        out: ``[lanes, outputs * plane]``, overwritten.
    """
    lanes, _, channels, height, width = images.shape
    maps = np.empty(channels * height * width * batch, out.dtype)
    rows = out.shape[1] // terms.plane
    bias, packed = np.zeros(rows, out.dtype), np.empty((rows + 3) * len(terms.taps), out.dtype)
    for lane in range(lanes):
        _lay_images(images[lane], scale, shift, batch, maps)
        _product(weights[lane], kernel, bias, maps, terms, packed, out[lane], rows)


@compiled
def patches_backward(
    images: _Floats,
    scale: _Floats,
    shift: _Floats,
    upstream: _Floats,
    terms: Gather,
    batch: int,
    gradient: _Floats,
    kernel: int,
) -> None:
    """Fills in the gradient of the kernels.

    Args:
        images: As in `patches_forward`, like all that is not explained here.
        scale: See there.
        shift: See there.
        upstream: ``[lanes, outputs * plane]`` gradient of the output.
        terms: See there.
        batch: See there.
        gradient: ``[lanes, n]`` of the weights.
        kernel: See there.
    """
    lanes, _, channels, height, width = images.shape
    maps = np.empty(channels * height * width * batch, gradient.dtype)
    for lane in range(lanes):
        _lay_images(images[lane], scale, shift, batch, maps)
        _outer(upstream[lane], maps, terms, gradient[lane], kernel, upstream.shape[1] // terms.plane)


@compiled
def block_forward(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    terms: Terms,
    batch: int,
    group: int,
    epsilon: float,
    statistics: _Floats,
    out: _Floats,
) -> None:
    """Normalizes the maps of every lane by groups of channels, rectifies them, and convolves them.

    Args:
        maps: ``[lanes, channels * pixels * batch]``.
        weights: ``[lanes, n]``.
        places: where in a lane's weights begin the norm's scales and shifts, the kernel, and the bias, -1 for none.
        terms: of the convolution.
        batch: images, a multiple of 8.
        group: channels that are normalized together.
        epsilon: added to variances.
        statistics: ``[lanes, groups, 2, batch]``, overwritten: means, and 1 over standard deviations.
        out: ``[lanes, outputs * plane]``, overwritten.
    """
    lanes = maps.shape[0]
    channels, rows = statistics.shape[1] * group, out.shape[1] // terms.forward.plane
    active = np.zeros(channels * terms.padded, maps.dtype)
    bias = np.zeros(rows, maps.dtype)
    packed = np.empty((rows + 3) * len(terms.forward.taps), maps.dtype)
    for lane in range(lanes):
        own = weights[lane]
        for first in range(statistics.shape[1]):
            _measure(maps[lane], first * group, group, len(terms.inside), batch, epsilon, statistics[lane, first])
        _activate(maps[lane], own, places, statistics[lane], group, terms, batch, active)
        if places[3] >= 0:
            for row in range(rows):
                bias[row] = own[places[3] + row]
        _product(own, places[2], bias, active, terms.forward, packed, out[lane], rows)


@compiled
def block_backward(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    terms: Terms,
    batch: int,
    group: int,
    statistics: _Floats,
    upstream: _Floats,
    gradient: _Floats,
    out: _Floats,
) -> None:
    """Fills in the gradients of the weights and of the maps of a block.

    Args:
        maps: As in `block_forward`, like all that is not explained here.
        weights: See there.
        places: See there.
        terms: See there.
        batch: See there.
        group: See there.
        statistics: What `block_forward` has measured.
        upstream: ``[lanes, outputs * plane]`` gradient of the output.
        gradient: ``[lanes, n]`` of the weights; the block's part is overwritten.
        out: ``[lanes, channels * pixels * batch]`` gradient of the maps, overwritten.
    """
    lanes = maps.shape[0]
    channels, rows, plane = statistics.shape[1] * group, upstream.shape[1] // terms.forward.plane, terms.forward.plane
    active = np.zeros(channels * terms.padded, maps.dtype)
    padded = np.zeros(rows * terms.padded_gradient, maps.dtype)
    passed = np.empty(channels * terms.backward.plane, maps.dtype)
    bias = np.zeros(channels, maps.dtype)
    packed = np.empty((channels + 3) * len(terms.backward.taps), maps.dtype)
    for lane in range(lanes):
        own, mine = weights[lane], gradient[lane]
        _activate(maps[lane], own, places, statistics[lane], group, terms, batch, active)
        _outer(upstream[lane], active, terms.forward, mine, places[2], rows)
        if places[3] >= 0:
            _sum_rows(upstream[lane], plane, mine, places[3], rows)
        for row in range(rows):
            for pixel in range(len(terms.inside_gradient)):
                at, to = row * plane + pixel * batch, row * terms.padded_gradient + terms.inside_gradient[pixel]
                for image in range(0, batch, 8):
                    store(padded, to + image, load(upstream[lane], at + image))
        _product(own, places[2], bias, padded, terms.backward, packed, passed, channels)
        for first in range(statistics.shape[1]):
            _normalize_backward(
                passed,
                maps[lane],
                own,
                places,
                first * group,
                group,
                len(terms.inside),
                batch,
                statistics[lane, first],
                mine,
                out[lane],
            )


@compiled
def _product(
    weights: _Floats, kernel: int, bias: _Floats, maps: _Floats, terms: Gather, packed: _Floats, out: _Floats, rows: int
) -> None:
    """Writes for every output channel and column the bias and the sum over the taps of weight times map."""
    first_tap = first_column = 0
    for part in range(len(terms.tap_ends)):
        last_tap, last_column = terms.tap_ends[part], terms.column_ends[part]
        _pack(weights, kernel, terms, first_tap, last_tap, rows, packed)
        for column in range(first_column, last_column, 3):
            # What would be beyond the last one is the last one once more.
            j1, j2 = min(column + 1, last_column - 1), min(column + 2, last_column - 1)
            c0, c1, c2 = terms.columns[column], terms.columns[j1], terms.columns[j2]
            p0, p1, p2 = terms.places[column], terms.places[j1], terms.places[j2]
            at_weight = np.uint64(0)
            for row in range(0, rows, 4):
                r1, r2, r3 = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
                a0 = a1 = a2 = fill(bias[row])
                b0 = b1 = b2 = fill(bias[r1])
                d0 = d1 = d2 = fill(bias[r2])
                e0 = e1 = e2 = fill(bias[r3])
                for tap in range(first_tap, last_tap):
                    at = terms.taps[tap]
                    x0, x1, x2 = load(maps, at + c0), load(maps, at + c1), load(maps, at + c2)
                    w = packed[at_weight]
                    a0, a1, a2 = multiply_add(w, x0, a0), multiply_add(w, x1, a1), multiply_add(w, x2, a2)
                    w = packed[at_weight + np.uint64(1)]
                    b0, b1, b2 = multiply_add(w, x0, b0), multiply_add(w, x1, b1), multiply_add(w, x2, b2)
                    w = packed[at_weight + np.uint64(2)]
                    d0, d1, d2 = multiply_add(w, x0, d0), multiply_add(w, x1, d1), multiply_add(w, x2, d2)
                    w = packed[at_weight + np.uint64(3)]
                    e0, e1, e2 = multiply_add(w, x0, e0), multiply_add(w, x1, e1), multiply_add(w, x2, e2)
                    at_weight += np.uint64(4)
                o0, o1, o2, o3 = row * terms.plane, r1 * terms.plane, r2 * terms.plane, r3 * terms.plane
                store(out, o0 + p0, a0)
                store(out, o0 + p1, a1)
                store(out, o0 + p2, a2)
                store(out, o1 + p0, b0)
                store(out, o1 + p1, b1)
                store(out, o1 + p2, b2)
                store(out, o2 + p0, d0)
                store(out, o2 + p1, d1)
                store(out, o2 + p2, d2)
                store(out, o3 + p0, e0)
                store(out, o3 + p1, e1)
                store(out, o3 + p2, e2)
        first_tap, first_column = last_tap, last_column


@compiled
def _pack(
    weights: _Floats, kernel: int, terms: Gather, first_tap: int, last_tap: int, rows: int, packed: _Floats
) -> None:
    """Lays the weights out in the order in which a product reads them: four output channels, tap by tap."""
    at = 0
    for row in range(0, rows, 4):
        w0, w1 = kernel + row * terms.row, kernel + min(row + 1, rows - 1) * terms.row
        w2, w3 = kernel + min(row + 2, rows - 1) * terms.row, kernel + min(row + 3, rows - 1) * terms.row
        for tap in range(first_tap, last_tap):
            step = terms.weights[tap]
            packed[at], packed[at + 1] = weights[w0 + step], weights[w1 + step]
            packed[at + 2], packed[at + 3] = weights[w2 + step], weights[w3 + step]
            at += 4


@compiled
def _outer(upstream: _Floats, maps: _Floats, terms: Gather, gradient: _Floats, kernel: int, rows: int) -> None:
    """Writes for every output channel and tap the sum over the columns of gradient times map."""
    taps, columns = len(terms.taps), len(terms.columns)
    zero = fill(maps.dtype.type(0))
    for tap in range(0, taps, 3):
        k1, k2 = min(tap + 1, taps - 1), min(tap + 2, taps - 1)
        t0, t1, t2 = terms.taps[tap], terms.taps[k1], terms.taps[k2]
        for row in range(0, rows, 4):
            r1, r2, r3 = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
            o0, o1, o2, o3 = row * terms.plane, r1 * terms.plane, r2 * terms.plane, r3 * terms.plane
            a0 = a1 = a2 = b0 = b1 = b2 = d0 = d1 = d2 = e0 = e1 = e2 = zero
            for column in range(columns):
                at, place = terms.columns[column], terms.places[column]
                x0, x1, x2 = load(maps, at + t0), load(maps, at + t1), load(maps, at + t2)
                u = load(upstream, o0 + place)
                a0, a1, a2 = multiply_add(u, x0, a0), multiply_add(u, x1, a1), multiply_add(u, x2, a2)
                u = load(upstream, o1 + place)
                b0, b1, b2 = multiply_add(u, x0, b0), multiply_add(u, x1, b1), multiply_add(u, x2, b2)
                u = load(upstream, o2 + place)
                d0, d1, d2 = multiply_add(u, x0, d0), multiply_add(u, x1, d1), multiply_add(u, x2, d2)
                u = load(upstream, o3 + place)
                e0, e1, e2 = multiply_add(u, x0, e0), multiply_add(u, x1, e1), multiply_add(u, x2, e2)
            w = kernel + row * terms.row
            gradient[w + tap], gradient[w + k1], gradient[w + k2] = total(a0), total(a1), total(a2)
            w = kernel + r1 * terms.row
            gradient[w + tap], gradient[w + k1], gradient[w + k2] = total(b0), total(b1), total(b2)
            w = kernel + r2 * terms.row
            gradient[w + tap], gradient[w + k1], gradient[w + k2] = total(d0), total(d1), total(d2)
            w = kernel + r3 * terms.row
            gradient[w + tap], gradient[w + k1], gradient[w + k2] = total(e0), total(e1), total(e2)


@compiled
def _sum_rows(upstream: _Floats, plane: int, gradient: _Floats, bias: int, rows: int) -> None:
    for row in range(rows):
        sums = fill(upstream.dtype.type(0))
        for place in range(row * plane, (row + 1) * plane, 8):
            sums = sums + load(upstream, place)
        gradient[bias + row] = total(sums)


@compiled
def _lay_images(images: _Floats, scale: _Floats, shift: _Floats, batch: int, maps: _Floats) -> None:
    """Lays ``[batch, channels, h, w]`` out as ``[channels, h, w, batch]``; the last image fills up a batch."""
    count, channels, height, width = images.shape
    pixels, flat = height * width, images.reshape(-1)
    last, between = count - 1, channels * pixels
    for image in range(0, batch, 8):
        i0, i1, i2, i3 = min(image, last), min(image + 1, last), min(image + 2, last), min(image + 3, last)
        i4, i5, i6, i7 = min(image + 4, last), min(image + 5, last), min(image + 6, last), min(image + 7, last)
        for channel in range(channels):
            factor, offset = fill(scale[channel]), fill(shift[channel])
            for pixel in range(0, pixels, 8):
                at = channel * pixels + pixel
                a0 = multiply_add(factor, load(flat, at + i0 * between), offset)
                a1 = multiply_add(factor, load(flat, at + i1 * between), offset)
                a2 = multiply_add(factor, load(flat, at + i2 * between), offset)
                a3 = multiply_add(factor, load(flat, at + i3 * between), offset)
                a4 = multiply_add(factor, load(flat, at + i4 * between), offset)
                a5 = multiply_add(factor, load(flat, at + i5 * between), offset)
                a6 = multiply_add(factor, load(flat, at + i6 * between), offset)
                a7 = multiply_add(factor, load(flat, at + i7 * between), offset)
                # Three perfect shuffles turn eight vectors of pixels into eight of images.
                b0, b1, b2, b3 = low_pairs(a0, a4), high_pairs(a0, a4), low_pairs(a1, a5), high_pairs(a1, a5)
                b4, b5, b6, b7 = low_pairs(a2, a6), high_pairs(a2, a6), low_pairs(a3, a7), high_pairs(a3, a7)
                a0, a1, a2, a3 = low_pairs(b0, b4), high_pairs(b0, b4), low_pairs(b1, b5), high_pairs(b1, b5)
                a4, a5, a6, a7 = low_pairs(b2, b6), high_pairs(b2, b6), low_pairs(b3, b7), high_pairs(b3, b7)
                to = at * batch + image
                store(maps, to, low_pairs(a0, a4))
                store(maps, to + batch, high_pairs(a0, a4))
                store(maps, to + 2 * batch, low_pairs(a1, a5))
                store(maps, to + 3 * batch, high_pairs(a1, a5))
                store(maps, to + 4 * batch, low_pairs(a2, a6))
                store(maps, to + 5 * batch, high_pairs(a2, a6))
                store(maps, to + 6 * batch, low_pairs(a3, a7))
                store(maps, to + 7 * batch, high_pairs(a3, a7))


@compiled
def _measure(
    maps: _Floats, channel: int, group: int, pixels: int, batch: int, epsilon: float, statistics: _Floats
) -> None:
    """Measures the mean of a group of channels, per image, and 1 over its standard deviation."""
    first, last = channel * pixels * batch, (channel + group) * pixels * batch
    number = fill(maps.dtype.type(group * pixels))
    unit, zero, small = fill(maps.dtype.type(1)), fill(maps.dtype.type(0)), fill(maps.dtype.type(epsilon))
    means, inverses = statistics[0], statistics[1]
    for image in range(0, batch, 8):
        sums = zero
        for place in range(first + image, last + image, batch):
            sums = sums + load(maps, place)
        mean = sums / number
        squares = zero
        for place in range(first + image, last + image, batch):
            away = load(maps, place) - mean
            squares = multiply_add(away, away, squares)
        store(means, image, mean)
        store(inverses, image, unit / root(squares / number + small))


@compiled
def _activate(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    statistics: _Floats,
    group: int,
    terms: Terms,
    batch: int,
    out: _Floats,
) -> None:
    """Writes the normalized and rectified maps into the inside of bordered ones."""
    pixels = len(terms.inside)
    zero = fill(maps.dtype.type(0))
    for channel in range(statistics.shape[0] * group):
        means, inverses = statistics[channel // group, 0], statistics[channel // group, 1]
        scale, shift = fill(weights[places[0] + channel]), fill(weights[places[1] + channel])
        for image in range(0, batch, 8):
            factor = load(inverses, image) * scale
            offset = multiply_add(zero - load(means, image), factor, shift)
            at, to = channel * pixels * batch + image, channel * terms.padded + image
            for pixel in range(pixels):
                value = multiply_add(factor, load(maps, at + pixel * batch), offset)
                store(out, to + terms.inside[pixel], where_positive(value, value))


@compiled
def _normalize_backward(
    upstream: _Floats,
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    channel: int,
    group: int,
    pixels: int,
    batch: int,
    statistics: _Floats,
    gradient: _Floats,
    out: _Floats,
) -> None:
    """Carries the gradient of a group's rectified maps to its maps, scales and shifts."""
    means, inverses = statistics[0], statistics[1]
    zero, number = fill(maps.dtype.type(0)), fill(maps.dtype.type(group * pixels))
    for own in range(channel, channel + group):
        gradient[places[0] + own] = gradient[places[1] + own] = 0
    for image in range(0, batch, 8):
        mean, inverse = load(means, image), load(inverses, image)
        sums = moments = zero
        for own in range(channel, channel + group):
            scale, shift = fill(weights[places[0] + own]), fill(weights[places[1] + own])
            factor = inverse * scale
            offset = multiply_add(zero - mean, factor, shift)
            at = own * pixels * batch + image
            channel_sums = channel_moments = zero
            for pixel in range(pixels):
                value = load(maps, at + pixel * batch)
                passed = where_positive(multiply_add(factor, value, offset), load(upstream, at + pixel * batch))
                channel_sums = channel_sums + passed
                channel_moments = multiply_add(passed, value - mean, channel_moments)
            channel_moments = channel_moments * inverse
            gradient[places[0] + own] += total(channel_moments)
            gradient[places[1] + own] += total(channel_sums)
            sums, moments = multiply_add(scale, channel_sums, sums), multiply_add(scale, channel_moments, moments)
        slope = (zero - inverse * inverse * moments) / number
        level = (zero - inverse * sums) / number - mean * slope
        for own in range(channel, channel + group):
            scale, shift = fill(weights[places[0] + own]), fill(weights[places[1] + own])
            factor = inverse * scale
            offset = multiply_add(zero - mean, factor, shift)
            at = own * pixels * batch + image
            for pixel in range(pixels):
                value = load(maps, at + pixel * batch)
                passed = where_positive(multiply_add(factor, value, offset), load(upstream, at + pixel * batch))
                store(out, at + pixel * batch, multiply_add(factor, passed, multiply_add(slope, value, level)))
