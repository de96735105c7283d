"""An environment that is stepped for long holds what it held at the beginning."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from mapopt.envs.families import ShapesFamily
from mapopt.envs.vector import DetectorTrainingVectorEnv
from mapopt.training.task import Budget, Recipe


def resident() -> float:
    """Megabytes that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="this system does not say what a process holds")
def test_five_thousand_steps_grow_the_process_by_less_than_20_mb() -> None:
    family = ShapesFamily(images=(8, 4, 4), count=4, recipe=Recipe(batch_size=4))
    env = DetectorTrainingVectorEnv(8, family, budget=Budget(images=16, rounds=4), autoreset_mode="SameStep")
    env.reset(seed=0)
    zero = np.zeros((8, 4))
    for _ in range(50):
        env.step(zero)
    before = resident()
    for _ in range(5000 // 8):
        env.step(zero)
    assert resident() - before < 20
