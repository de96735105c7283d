"""Vectors in compiled loops compute what numpy does with eight numbers at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

numba = pytest.importorskip("numba")

from mapopt.vectors import (  # noqa: E402
    WIDTH,
    fill,
    high_pairs,
    load,
    low_pairs,
    multiply_add,
    root,
    store,
    total,
    totals,
    where_positive,
)

Numbers = NDArray[np.float64]


@numba.njit
def compute(first: Numbers, second: Numbers, number: float, out: Numbers) -> float:
    """Writes a row of `out` per operation; the vectors begin at position 1."""
    a, b = load(first, 1), load(second, 1)
    store(out, 0, a + b)
    store(out, 8, a - b)
    store(out, 16, a * b)
    store(out, 24, a / b)
    store(out, 32, multiply_add(a, b, a))
    store(out, 40, multiply_add(number, b, a))
    store(out, 48, root(b))
    store(out, 56, where_positive(a, b))
    store(out, 64, low_pairs(a, b))
    store(out, 72, high_pairs(a, b))
    store(out, 80, fill(number))
    return total(a)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_every_operation_is_numpys(kind: type) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=WIDTH + 2).astype(kind), random.random(WIDTH + 2).astype(kind) + kind(1)
    number, out = kind(0.7), np.zeros(11 * WIDTH, kind)
    summed = compute(first, second, number, out)
    a, b = first[1:-1], second[1:-1]
    pairs = np.stack([a, b], 1)
    expected = [
        *(a + b, a - b, a * b, a / b, a * b + a, number * b + a, np.sqrt(b), np.where(a > 0, b, 0)),
        *(pairs[:4].reshape(-1), pairs[4:].reshape(-1), np.full(WIDTH, number)),
    ]
    assert out.dtype == kind
    np.testing.assert_allclose(out.reshape(-1, WIDTH), np.stack(expected), rtol=4 * np.finfo(kind).eps)
    assert summed == pytest.approx(float(a.astype(np.float64).sum()), rel=1e-5)


@numba.njit
def add_up(numbers: Numbers) -> float:
    return total(load(numbers, 0))


def test_a_sum_has_the_same_bits_whatever_else_is_compiled_around_it() -> None:
    numbers = (10.0 ** np.arange(8)).astype(np.float32) / np.float32(3)
    halves = numbers[:4] + numbers[4:]
    quarters = halves[:2] + halves[2:]
    assert add_up(numbers) == quarters[0] + quarters[1]


@numba.njit
def add_up_four(numbers: Numbers) -> tuple[float, float, float, float]:
    """Returns the sums of four vectors."""
    a, b, c, d = load(numbers, 0), load(numbers, WIDTH), load(numbers, 2 * WIDTH), load(numbers, 3 * WIDTH)
    return totals(a, b, c, d)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_four_sums_at_once_have_the_bits_of_each_alone(kind: type) -> None:
    numbers = (np.random.default_rng(0).normal(size=(4, WIDTH)) * 10.0 ** np.arange(WIDTH)).astype(kind)
    assert list(add_up_four(numbers.reshape(-1))) == [add_up(row) for row in numbers]


def test_a_condition_that_is_no_number_lets_through_what_stands_there() -> None:
    first, out = np.full(WIDTH + 2, np.nan), np.zeros(11 * WIDTH)
    compute(first, np.full(WIDTH + 2, 3.0), 1.0, out)
    assert (out[56:64] == 3).all()
