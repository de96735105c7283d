"""An environment that is stepped for long holds what it held at the beginning."""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path

import numpy as np
import pytest

from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.lanes import INSTANCES_KEPT, Problems
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.training.budget import Budget
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe


def resident() -> float:
    """Megabytes that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="this system does not say what a process holds")
def test_five_thousand_steps_grow_the_process_by_less_than_20_mb() -> None:
    small = ShapesConfig(size=32, object_size=(8.0, 16.0))
    family = ShapesFamily(images=(8, 4, 4), count=4, scenes=small, recipe=Recipe(batch_size=4))
    env = DetectorTrainingVectorEnv(16, family, budget=Budget(images=16, rounds=4), autoreset_mode="SameStep")
    env.reset(seed=0)
    zero = np.zeros((16, 4))
    for _ in range(50):
        env.step(zero)
    before = resident()
    for _ in range(5000 // 16):
        env.step(zero)
    assert resident() - before < 20


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="this system does not say what a process holds")
def test_five_thousand_steps_of_post_processing_grow_the_process_by_less_than_20_mb() -> None:
    env = PostProcessingEnv(length=8)
    env.action_space.seed(0)

    def play(steps: int) -> None:
        for step in range(steps):
            if step % 8 == 0:
                # What is held is bounded, and filled by one turn through the instances.
                env.reset(options={"instance": step // 8 % env.family.count})
            env.step(env.action_space.sample())

    play(8 * env.family.count)
    before = resident()
    play(5000)
    assert resident() - before < 20


def test_no_more_instances_are_held_than_the_page_says() -> None:
    held = Problems(SyntheticCandidates(count=70, images=(2, 2)), PostProcessingSettings.of(Knobs(), 3))
    first, *_, last = [held[number] for number in range(70)]
    assert held[69] is last
    assert held[0] is not first
    assert len(held) == INSTANCES_KEPT
    assert f"holds the last {INSTANCES_KEPT} instances" in (inspect.getdoc(PostProcessingEnv) or "")
