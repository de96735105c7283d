"""Compiled matrix products with gathered columns, whose sums stay in the processor's registers.

Four output channels and three columns are added up at once, in twelve registers: as many multiplications as a
processor with 16 vector registers can do for seven loads. What is multiplied with what, and where, is said by tables of
offsets; see `mapopt.detectors.dense.gathering`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.detectors.dense.gathering import Gather
from mapopt.vectors import fill, load, multiply_add, store, total, totals

_Floats = NDArray[np.float32]


@compiled
def pack(weights: _Floats, kernel: int, terms: Gather, rows: int, packed: _Floats) -> None:
    """Lays weights out in the order in which `product` reads them: four output channels, tap by tap.

    Args:
        weights: ``[n]``.
        kernel: where in the weights the kernel begins.
        terms: of the products.
        rows: output channels; what would be beyond the last one is the last one once more.
        packed: overwritten; room for the next multiple of four rows times the taps.
    """
    at = first_tap = 0
    for last_tap in terms.tap_ends:
        for row in range(0, rows, 4):
            w0, w1 = kernel + row * terms.row, kernel + min(row + 1, rows - 1) * terms.row
            w2, w3 = kernel + min(row + 2, rows - 1) * terms.row, kernel + min(row + 3, rows - 1) * terms.row
            for tap in range(first_tap, last_tap):
                step = terms.weights[tap]
                packed[at], packed[at + 1] = weights[w0 + step], weights[w1 + step]
                packed[at + 2], packed[at + 3] = weights[w2 + step], weights[w3 + step]
                at += 4
        first_tap = last_tap


@compiled
def read_bias(weights: _Floats, place: int, bias: _Floats) -> None:
    """Reads the biases of output channels ``[rows]`` from a place in a lane's weights; -1 for none leaves them be."""
    if place >= 0:
        for row in range(len(bias)):
            bias[row] = weights[place + row]


@compiled
def product(packed: _Floats, bias: _Floats, maps: _Floats, terms: Gather, out: _Floats, rows: int) -> None:
    """Writes for every output channel and column the bias and the sum over the taps of weight times map.

    Args:
        packed: the weights, as `pack` lays them out.
        bias: ``[rows]``.
        maps: what is read.
        terms: of the products.
        out: what is written.
        rows: output channels.
    """
    first_tap = first_column = first_weight = 0
    for part in range(len(terms.tap_ends)):
        last_tap, last_column = terms.tap_ends[part], terms.column_ends[part]
        for column in range(first_column, last_column, 3):
            # What would be beyond the last one is the last one once more.
            j1, j2 = min(column + 1, last_column - 1), min(column + 2, last_column - 1)
            c0, c1, c2 = terms.columns[column], terms.columns[j1], terms.columns[j2]
            p0, p1, p2 = terms.places[column], terms.places[j1], terms.places[j2]
            weight = np.uint64(first_weight)
            for row in range(0, rows, 4):
                r1, r2, r3 = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
                a0 = a1 = a2 = fill(bias[row])
                b0 = b1 = b2 = fill(bias[r1])
                d0 = d1 = d2 = fill(bias[r2])
                e0 = e1 = e2 = fill(bias[r3])
                for tap in range(first_tap, last_tap):
                    at = terms.taps[tap]
                    x0, x1, x2 = load(maps, at + c0), load(maps, at + c1), load(maps, at + c2)
                    w = packed[weight]
                    a0, a1, a2 = multiply_add(w, x0, a0), multiply_add(w, x1, a1), multiply_add(w, x2, a2)
                    w = packed[weight + np.uint64(1)]
                    b0, b1, b2 = multiply_add(w, x0, b0), multiply_add(w, x1, b1), multiply_add(w, x2, b2)
                    w = packed[weight + np.uint64(2)]
                    d0, d1, d2 = multiply_add(w, x0, d0), multiply_add(w, x1, d1), multiply_add(w, x2, d2)
                    w = packed[weight + np.uint64(3)]
                    e0, e1, e2 = multiply_add(w, x0, e0), multiply_add(w, x1, e1), multiply_add(w, x2, e2)
                    weight += np.uint64(4)
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
        first_weight += (rows + 3) // 4 * 4 * (last_tap - first_tap)
        first_tap, first_column = last_tap, last_column


@compiled
def outer(upstream: _Floats, maps: _Floats, terms: Gather, gradient: _Floats, kernel: int, rows: int) -> None:
    """Writes for every output channel and tap the sum over the columns of gradient times map.

    Args:
        upstream: gradient of what `product` has written.
        maps: what it has read.
        terms: of the products.
        gradient: ``[n]`` of the weights.
        kernel: where in it that of the kernel begins.
        rows: output channels.
    """
    zero = fill(maps.dtype.type(0))
    first_tap = first_column = 0
    for part in range(len(terms.tap_ends)):
        last_tap, last_column = terms.tap_ends[part], terms.column_ends[part]
        for tap in range(first_tap, last_tap, 3):
            k1, k2 = min(tap + 1, last_tap - 1), min(tap + 2, last_tap - 1)
            t0, t1, t2 = terms.taps[tap], terms.taps[k1], terms.taps[k2]
            for row in range(0, rows, 4):
                r1, r2, r3 = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
                o0, o1, o2, o3 = row * terms.plane, r1 * terms.plane, r2 * terms.plane, r3 * terms.plane
                a0 = a1 = a2 = b0 = b1 = b2 = d0 = d1 = d2 = e0 = e1 = e2 = zero
                for column in range(first_column, last_column):
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
                w0, w1 = kernel + row * terms.row, kernel + r1 * terms.row
                w2, w3 = kernel + r2 * terms.row, kernel + r3 * terms.row
                at = terms.weights[tap]
                gradient[w0 + at], gradient[w1 + at], gradient[w2 + at], gradient[w3 + at] = totals(a0, b0, d0, e0)
                at = terms.weights[k1]
                gradient[w0 + at], gradient[w1 + at], gradient[w2 + at], gradient[w3 + at] = totals(a1, b1, d1, e1)
                at = terms.weights[k2]
                gradient[w0 + at], gradient[w1 + at], gradient[w2 + at], gradient[w3 + at] = totals(a2, b2, d2, e2)
        first_tap, first_column = last_tap, last_column


@compiled
def sum_rows(upstream: _Floats, plane: int, gradient: _Floats, bias: int, rows: int) -> None:
    """Writes for every output channel the sum of its gradient; arguments as in `outer`, `plane` numbers a channel."""
    for row in range(rows):
        sums = fill(upstream.dtype.type(0))
        for place in range(row * plane, (row + 1) * plane, 8):
            sums = sums + load(upstream, place)
        gradient[bias + row] = total(sums)
