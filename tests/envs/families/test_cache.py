"""What is held stays within its bytes, and what was evicted comes back the same."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.families.cache import HELD, SplitsCache
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

BYTES = 3 * 48 * 48 * (4 + 2 + 2)


def make(seed: int) -> Splits:
    return make_shapes_splits(ShapesConfig(), seed=seed, train=4, val=2, test=2)


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


def resident() -> float:
    """Megabytes that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="this system does not say what a process holds")
def test_more_instances_than_are_held_do_not_grow_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    HELD.clear()
    monkeypatch.setattr(HELD, "limit", 2_000_000)
    family = ShapesFamily(images=(96, 2, 2), count=40, recipe=Recipe(batch_size=4))
    env = DetectorTrainingVectorEnv(2, family, budget=Budget(images=4, rounds=1), autoreset_mode="Disabled")

    def play(first: int, last: int) -> None:
        for number in range(first, last):
            env.reset(options={"instance": number})
            env.step(np.zeros((2, 4)))

    play(0, 10)
    before = resident()
    play(10, 40)
    drawn = 30 * 100 * 3 * 48 * 48 / 1e6
    assert resident() - before < drawn / 2
    assert HELD.bytes <= HELD.limit
    engines = env.lanes.fleet_of(0)[0]._engines
    held = {id(task.splits) for engine in engines for task in engine.tasks}
    assert len(held) == len(engines[0]._sets) == 1
