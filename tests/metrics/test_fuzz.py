"""On random hard scenes the evaluator and pycocotools do not differ in a single bit."""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec

import numpy as np
import pytest

from mapopt.metrics import evaluate, evaluate_lanes
from mapopt.metrics.oracle import pycocotools_evaluation
from mapopt.metrics.settings import Settings

SEEDS = range(320)
BLOCK = 40
ENGINES = ["numpy", "numba"] if find_spec("numba") else ["numpy"]
QUANTITIES = ("stats", "precision", "recall", "scores")


def differing_bits(got: np.ndarray, expected: np.ndarray) -> int:
    assert got.shape == expected.shape
    return int((np.ascontiguousarray(got).view(np.int64) != np.ascontiguousarray(expected).view(np.int64)).sum())


@pytest.mark.parametrize("first", SEEDS[::BLOCK])
def test_hard_scenes_are_evaluated_as_by_pycocotools_alone_and_in_lanes(first, hard_scene) -> None:
    scenes = [hard_scene(seed) for seed in range(first, first + BLOCK)]
    truths, lanes = [truth for truth, _ in scenes], [detections for _, detections in scenes]
    together = [evaluate_lanes(truths, lanes, backend=engine) for engine in ENGINES]
    for seed, (truth, detections), *reports in zip(range(first, first + BLOCK), scenes, *together, strict=True):
        oracle = pycocotools_evaluation(truth, detections, Settings.of())
        with contextlib.redirect_stdout(io.StringIO()):
            oracle.summarize()
        expected = {"stats": oracle.stats, **oracle.eval}
        alone = evaluate(truth, detections, backend=ENGINES[seed % len(ENGINES)])
        for report in [*reports, alone]:
            for quantity in QUANTITIES:
                assert differing_bits(getattr(report, quantity), expected[quantity]) == 0, (seed, quantity)


@pytest.mark.parametrize("first", SEEDS[::BLOCK])
def test_the_reward_has_the_bits_of_the_full_mode(first, hard_scene) -> None:
    scenes = [hard_scene(seed) for seed in range(first, first + BLOCK)]
    truths, lanes = [truth for truth, _ in scenes], [detections for _, detections in scenes]
    for engine in ENGINES:
        pairs = zip(
            evaluate_lanes(truths, lanes, backend=engine),
            evaluate_lanes(truths, lanes, mode="reward", backend=engine),
            strict=True,
        )
        for full, reward in pairs:
            assert reward.measured() == {name: full.measured()[name] for name in ("ap", "ap50", "ap75", "ar100")}
            assert reward.per_category == full.per_category
            assert reward.per_category50 == full.per_category50


def test_the_scenes_are_hard(hard_scene) -> None:
    scenes = [hard_scene(seed) for seed in SEEDS]
    reports = [evaluate(truth, detections) for truth, detections in scenes]
    aps = np.array([report.ap for report in reports])
    assert ((aps > 0) & (aps < 1)).mean() > 0.5
    assert sum(bool(truth.crowd.any()) for truth, _ in scenes) > 100
    assert sum(len(np.unique(detections.scores)) < len(detections) for _, detections in scenes) > 100
    assert sum(report.ap_small > -1 and report.ap_large > -1 for report in reports) > 50
    groups = [np.stack([detections.image_ids, detections.labels]) for _, detections in scenes]
    assert sum(np.unique(group, axis=1, return_counts=True)[1].max(initial=0) > 100 for group in groups) > 10
    twins = [
        np.concatenate([truth.boxes, truth.image_ids[:, None], truth.labels[:, None]], axis=1) for truth, _ in scenes
    ]
    assert sum(len(np.unique(twin, axis=0)) < len(twin) for twin in twins) > 100
