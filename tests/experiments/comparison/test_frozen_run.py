"""A run of 20 steps whose bits are written down: where they change, stored runs are no longer what we would compute.

Where the bits of a machine are not written down, because its processor or its torch computes in another order, the
numbers themselves are held to a few digits.
"""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.experiments.comparison.keys import CODE
from mapopt.training import Budget, Fleet, Knobs, Recipe, RunResult, Schedule, Task, run_fleet

RECIPES = {
    "focal": Recipe(loss="focal", optimizer="sgd"),
    "rank_sort": Recipe(loss="rank_sort", balance="values", ema=0.9, optimizer="sgd"),
    "ap_adamw": Recipe(loss="ap", balance="values", scope="image", optimizer="adamw", class_balance="sampling"),
    "bends_at_rounds_ends": Recipe(loss="focal", optimizer="sgd"),
}
SCHEDULES = {"bends_at_rounds_ends": Schedule(warmup=0.25, final=0.01)}
"""Of recipes that have not the default one, whose warm-up ends inside the first round."""
BUDGET = Budget(images=320, rounds=4)


def processor() -> str:
    """Returns which processor this is, for kernels and so bits are chosen by it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


HERE = (".".join(torch.__version__.split(".")[:2]), processor())

BITS: dict[tuple[str, str], dict[str, str]] = {
    ("2.14", "AMD EPYC, AVX2"): {
        "focal": "8e14e4c84dcfaa19",
        "ap_adamw": "a3691ed3a3ecab85",
        "bends_at_rounds_ends": "5024dccffb1ac5c1",
    },
    ("2.14", "AMD EPYC, AVX512"): {
        "focal": "8e14e4c84dcfaa19",
        "rank_sort": "78d3abcf0daf3d5a",
        "ap_adamw": "a3691ed3a3ecab85",
        "bends_at_rounds_ends": "5024dccffb1ac5c1",
    },
}
"""(torch, processor) -> recipe -> hash of everything that the run came to."""

NUMBERS: dict[str, tuple[float, ...]] = {
    "focal": (0.934135, 21.617775, 0.023079, 0.910886, 21.630667, 0.028005),
    "rank_sort": (1.178197, 21.944679, 0.021918, 1.356421, 21.900959, 0.056696),
    "ap_adamw": (1.424952, 22.646162, 0.125839, 1.212159, 22.671831, 0.071775),
    "bends_at_rounds_ends": (0.978358, 21.651157, 0.013305, 1.068537, 21.709427, 0.014056),
}
"""Recipe -> the loss of the last round, the length of the weights and the test AP, of each of two lanes."""

WHAT_TO_RAISE = (
    "the bits of a run have changed, so stored runs are no longer what this code computes. If that is meant, raise "
    f"CODE (now {CODE}) in experiments/comparison/keys.py, write the new values here, and say so in CHANGELOG.md"
)


@cache
def play(name: str) -> tuple[list[RunResult], torch.Tensor]:
    """Returns what two lanes came to after 20 steps, and the weights after their test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        splits = make_shapes_splits(ShapesConfig(), seed=5, train=64, val=16, test=16)
        knobs = Knobs(lr=0.01 if "adamw" in name else 0.2, weight_decay=5e-4, assign_iou=0.3, soft_nms_sigma=0.0)
        task = Task(name="frozen", splits=splits, recipe=RECIPES[name], knobs=knobs)
        fleet = Fleet(task, [0, 1], device="cpu")
        results = run_fleet(fleet, [SCHEDULES.get(name, Schedule(warmup=0.05, final=0.01))] * 2, BUDGET)
        return results, fleet.detectors[0].weights.detach()
    finally:
        torch.set_num_threads(threads)


def bits_of(name: str) -> str:
    """Returns a hash of the rounds but their times, the test's numbers and the weights."""
    results, weights = play(name)
    digest = hashlib.sha256(weights.numpy().tobytes())
    for result in results:
        records = [played.as_dict() for played in result.history]
        for record in records:
            for part in (record, record["interval"]):
                del part["seconds"], part["processor_seconds"]
        assert result.test is not None
        digest.update(json.dumps([records, result.selected, result.test.stats.tolist()], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def numbers_of(name: str) -> tuple[float, ...]:
    """Returns some of the numbers."""
    results, _ = play(name)
    numbers = []
    for result in results:
        last = result.history[-1].interval
        assert result.test is not None
        numbers += [last.class_loss + last.box_loss, last.weight_norm, float(result.test.ap)]
    return tuple(numbers)


@pytest.mark.parametrize("name", RECIPES)
def test_the_bits_of_a_run_change_only_with_the_version_of_the_code(name: str) -> None:
    np.testing.assert_allclose(numbers_of(name), NUMBERS[name], rtol=1e-3, atol=2e-3, err_msg=WHAT_TO_RAISE)
    if name not in BITS.get(HERE, {}):
        pytest.skip(f"no bits are written down for {HERE}: its numbers were compared")
    assert bits_of(name) == BITS[HERE][name], WHAT_TO_RAISE


def test_the_written_bits_are_those_of_this_code() -> None:
    assert CODE == 5, "a raised CODE stands here together with new bits"
