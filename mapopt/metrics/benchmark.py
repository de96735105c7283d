"""How many times faster than pycocotools: a comparison that also compares the bits, run by `mapopt bench ap`.

Scenes are random with the statistics of COCO: 7 boxes and 36 detections an image, few categories in each, one box in
a hundred a crowd. Times are the process's own, so that a busy machine disturbs them less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.evaluator import evaluate
from mapopt.metrics.report import Report


@dataclass(frozen=True, kw_only=True)
class EngineCost:
    """What one engine costs on one random set, beside pycocotools.

    Attributes:
        images: in the set.
        detections: in the set.
        engine: numpy or numba.
        mode: as in `evaluate`.
        seconds: the fastest of several evaluations.
        pycocotools_seconds: one evaluation by pycocotools.
        same_bits: every number that both measure is the same bit for bit.
    """

    images: int
    detections: int
    engine: str
    mode: str
    seconds: float
    pycocotools_seconds: float
    same_bits: bool


def measure_engines(
    images: int, *, categories: int = 80, repeats: int = 5, engines: Sequence[str] = ("numpy", "numba"), seed: int = 0
) -> list[EngineCost]:
    """Times every engine and mode on one random set, and compares the bits with pycocotools'."""
    truth, detections = random_set(images, categories, seed=seed)
    slow, expected = _best(partial(_judge, truth, detections, "pycocotools", "full"), 1)
    rows = []
    for engine in engines:
        for mode in ("full", "reward"):
            work = partial(_judge, truth, detections, engine, mode)
            work()  # loads or compiles
            seconds, report = _best(work, repeats)
            rows.append(
                EngineCost(
                    images=images,
                    detections=len(detections),
                    engine=engine,
                    mode=mode,
                    seconds=seconds,
                    pycocotools_seconds=slow,
                    same_bits=_same(report, expected),
                )
            )
    return rows


def random_set(images: int, categories: int, *, seed: int = 0) -> tuple[GroundTruth, Detections]:
    """Returns a random ground truth and the detections of a mediocre detector."""
    generator = np.random.default_rng(seed)

    def boxes(count: int) -> NDArray[np.float64]:
        side = np.exp(generator.normal(4, 1, (count, 2))).clip(4, 400)
        corner = generator.uniform(0, 1, (count, 2)) * (640 - side)
        return np.concatenate([corner, corner + side], axis=1)

    frequency = 1 / np.arange(1, categories + 1)
    frequency /= frequency.sum()
    boxes_each = generator.poisson(7.3, images)
    image_ids = np.repeat(np.arange(images), boxes_each)
    present = generator.choice(categories, (images, 3), p=frequency)
    labels = present[image_ids, generator.integers(0, 3, len(image_ids))]
    real = boxes(len(image_ids))
    crowd = generator.random(len(real)) < 0.01
    truth = GroundTruth(
        real, labels, image_ids, crowd=crowd, images=np.arange(images), categories=np.arange(categories)
    )

    claimed_ids = np.repeat(np.arange(images), generator.poisson(36, images))
    count = len(claimed_ids)
    stray = (generator.random(count) < 0.5) | (boxes_each[claimed_ids] == 0)
    pick = (np.cumsum(boxes_each) - boxes_each)[claimed_ids]
    pick = np.where(stray, 0, pick + (generator.random(count) * boxes_each[claimed_ids]).astype(int))
    sides = real[pick, 2:] - real[pick, :2]
    moved = real[pick] + generator.normal(0, 0.08, (count, 4)) * np.tile(sides, 2)
    claimed = np.where(stray[:, None], boxes(count), np.sort(moved.reshape(count, 2, 2), axis=1).reshape(count, 4))
    claimed_labels = np.where(generator.random(count) < 0.8, labels[pick], generator.choice(categories, count))
    scores = np.where(stray, generator.beta(1, 4, count), generator.beta(3, 3, count)).astype(np.float32)
    return truth, Detections(claimed.astype(np.float32), scores, claimed_labels, claimed_ids)


def _judge(truth: GroundTruth, detections: Detections, backend: str, mode: str) -> Report:
    report = evaluate(truth, detections, backend=backend, mode=mode)  # type: ignore[arg-type]
    _ = report.stats  # the means are part of the work
    return report


def _best(work: Callable[[], Report], repeats: int) -> tuple[float, Report]:
    """Returns the shortest time and the last result."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        result = work()
        seconds.append(time.process_time() - begin)
    return min(seconds), result


def _same(report: Report, expected: Report) -> bool:
    """Compares what both have measured, bit for bit."""
    areas, limits = len(report.area_names), len(report.max_detections)
    return (
        report.measured().items() <= expected.measured().items()
        and np.array_equal(report.precision, expected.precision[..., :areas, -limits:])
        and np.array_equal(report.recall, expected.recall[..., :areas, -limits:])
        and np.array_equal(report.scores, expected.scores[..., :areas, -limits:])
    )
