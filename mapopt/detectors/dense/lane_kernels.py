"""Compiled layers of the tiny network: patches, and blocks of a norm, a rectifier and a convolution, lane by lane.

One product does every convolution, forward and backward; see `mapopt.detectors.dense.gathering` for what its offsets
mean. Nothing of a lane depends on another one, not even the order in which its terms are added, and what one lane needs
in between stays in the cache. Imported when the first images come to a network, because numba costs 0.4 s to import and
seconds to compile the first time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.detectors.dense.gathering import Gather, Terms
from mapopt.detectors.dense.norm_kernels import activate, normalize, normalize_backward
from mapopt.detectors.dense.product_kernels import outer, pack, product, read_bias, sum_rows
from mapopt.vectors import fill, high_pairs, load, low_pairs, multiply_add, store

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
        pack(weights[lane], kernel, terms, rows, packed)
        product(packed, bias, maps, terms, out[lane], rows)


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
        outer(upstream[lane], maps, terms, gradient[lane], kernel, upstream.shape[1] // terms.plane)


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
        normalize(maps[lane], own, places, terms, batch, group, epsilon, statistics[lane], active)
        read_bias(own, places[3], bias)
        pack(own, places[2], terms.forward, rows, packed)
        product(packed, bias, active, terms.forward, out[lane], rows)


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
        activate(maps[lane], own, places, statistics[lane], group, terms, batch, active)
        outer(upstream[lane], active, terms.forward, mine, places[2], rows)
        if places[3] >= 0:
            sum_rows(upstream[lane], plane, mine, places[3], rows)
        for row in range(rows):
            for pixel in range(len(terms.inside_gradient)):
                at, to = row * plane + pixel * batch, row * terms.padded_gradient + terms.inside_gradient[pixel]
                for image in range(0, batch, 8):
                    store(padded, to + image, load(upstream[lane], at + image))
        pack(own, places[2], terms.backward, channels, packed)
        product(packed, bias, padded, terms.backward, passed, channels)
        normalize_backward(
            passed, maps[lane], own, places, len(terms.inside), batch, group, statistics[lane], mine, out[lane]
        )


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
