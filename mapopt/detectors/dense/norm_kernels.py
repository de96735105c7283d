"""Compiled group normalization and rectifier of maps that lie as ``[channels, pixels, batch]``, vector by vector.

The numbers of an image are a column of the vectors, so no sum goes across a vector, and eight images are measured at
once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.detectors.dense.gathering import Terms, Tiles
from mapopt.vectors import fill, load, multiply_add, root, store, total, where_positive

_Floats = NDArray[np.float32]


@compiled
def normalize(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    terms: Terms | Tiles,
    batch: int,
    group: int,
    epsilon: float,
    statistics: _Floats,
    out: _Floats,
) -> None:
    """Writes a lane's maps, normalized by groups and rectified, into the inside of bordered ones.

    Args:
        maps: ``[channels * pixels * batch]``.
        weights: ``[n]`` of the lane.
        places: where in them the scales and the shifts begin.
        terms: where the inside is.
        batch: images, a multiple of 8.
        group: channels that are normalized together.
        epsilon: added to variances.
        statistics: ``[groups, 2, batch]``, overwritten: means, and 1 over standard deviations.
        out: ``[channels * padded]``; only the inside is written.
    """
    for first in range(statistics.shape[0]):
        _measure(maps, first * group, group, len(terms.inside), batch, epsilon, statistics[first])
    activate(maps, weights, places, statistics, group, terms, batch, out)


@compiled
def normalize_backward(
    upstream: _Floats,
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    pixels: int,
    batch: int,
    group: int,
    statistics: _Floats,
    gradient: _Floats,
    out: _Floats,
) -> None:
    """Carries the gradient of a lane's rectified maps to its maps, scales and shifts.

    Args:
        upstream: ``[channels * pixels * batch]`` gradient of the rectified maps, without a border.
        maps: As in `normalize`, like all that is not explained here.
        weights: See there.
        places: See there.
        pixels: of a map.
        batch: See there.
        group: See there.
        statistics: What `normalize` has measured.
        gradient: ``[n]`` of the weights; the norm's part is overwritten.
        out: ``[channels * pixels * batch]`` gradient of the maps, overwritten.
    """
    for first in range(statistics.shape[0]):
        _group_backward(
            upstream, maps, weights, places, first * group, group, pixels, batch, statistics[first], gradient, out
        )


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
def activate(
    maps: _Floats,
    weights: _Floats,
    places: tuple[int, int, int, int],
    statistics: _Floats,
    group: int,
    terms: Terms | Tiles,
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
def _group_backward(
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
    """Does what `normalize_backward` does for one group."""
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
