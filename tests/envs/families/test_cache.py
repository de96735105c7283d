"""What is held stays within its bytes, and what was let go of comes back the same."""

from __future__ import annotations

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.envs.families.cache import SplitsCache

BYTES = 3 * 48 * 48 * (4 + 2 + 2)


def make(seed: int) -> Splits:
    return make_shapes_splits(ShapesConfig(), seed=seed, train=4, tune=2, test=2)


def test_what_is_held_is_not_made_again_and_the_oldest_goes_first() -> None:
    cache, made = SplitsCache(limit=2 * BYTES), []

    def get(seed: int) -> Splits:
        return cache.get(seed, lambda: made.append(seed) or make(seed))  # type: ignore[func-returns-value]

    first = get(0)
    assert get(1) is get(1)
    assert get(0) is first
    assert made == [0, 1]
    get(2)
    assert (len(cache), cache.bytes) == (2, 2 * BYTES)
    assert get(0) is first
    assert made == [0, 1, 2]
    again = get(1)
    assert made == [0, 1, 2, 1]
    assert again.train.fingerprint == make(1).train.fingerprint


def test_one_is_held_even_where_it_alone_is_too_large() -> None:
    cache = SplitsCache(limit=BYTES - 1)
    for seed in (0, 1):
        assert cache.get(seed, lambda seed=seed: make(seed)) is cache.get(seed, lambda: make(9))  # type: ignore[misc]
        assert len(cache) == 1
    cache.clear()
    assert len(cache) == cache.bytes == 0
