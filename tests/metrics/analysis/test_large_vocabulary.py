"""AP-fixed and AP-pool: what they are in small cases, and where they equal AP."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, evaluate, fixed_average_precision, pooled_average_precision

BOX, ELSEWHERE = [0, 0, 10, 10], [50, 50, 60, 60]


def scene(seed: int, categories: int = 3) -> tuple[GroundTruth, Detections]:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 80, (60, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 30, (60, 2))], axis=1)
    images, labels = generator.integers(0, 8, 60), generator.integers(0, categories, 60)
    truth = GroundTruth(boxes, labels, images, images=range(8), categories=range(categories))
    rows = generator.integers(0, 60, 90)
    moved = boxes[rows] + np.tile(generator.normal(0, 2, (90, 2)), 2)
    return truth, Detections(moved, generator.random(90), labels[rows], images[rows])


def test_ap_fixed_is_ap_where_no_limit_is_reached() -> None:
    truth, lane = scene(0)
    assert fixed_average_precision(truth, lane) == evaluate(truth, lane, max_detections=1000).ap


def test_ap_fixed_has_no_limit_per_image_and_one_per_category() -> None:
    truth = GroundTruth([BOX], [1], [1], images=[1, 2], categories=[1, 2])
    # A hundred better ones hide the right one from AP, not from AP-fixed.
    lane = Detections([ELSEWHERE] * 100 + [BOX], np.linspace(1, 0.5, 101), [1] * 101, [1] * 101)
    assert evaluate(truth, lane).ap == 0
    assert fixed_average_precision(truth, lane) == pytest.approx(1 / 101)
    assert fixed_average_precision(truth, lane, per_category=100) == 0


def test_ap_pool_is_ap_fixed_with_one_category() -> None:
    for seed in range(3):
        truth, lane = scene(seed, categories=1)
        assert pooled_average_precision(truth, lane) == fixed_average_precision(truth, lane)


def test_ap_pool_compares_scores_across_categories() -> None:
    truth = GroundTruth([BOX, BOX], [1, 2], [1, 1])

    def lane(wrong: float) -> Detections:
        return Detections([BOX, BOX, ELSEWHERE], [0.9, 0.2, wrong], [1, 2, 1], [1, 1, 1])

    # A false alarm of category 1 below its own object is free in AP; above that of category 2 it costs AP-pool.
    both = [fixed_average_precision(truth, lane(wrong)) for wrong in (0.5, 0.1)]
    assert both == pytest.approx([1, 1])
    assert pooled_average_precision(truth, lane(0.1)) == pytest.approx(1)
    assert pooled_average_precision(truth, lane(0.5)) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_matches_stay_within_a_category() -> None:
    truth = GroundTruth([BOX], [1], [1], categories=[1, 2])
    assert pooled_average_precision(truth, Detections([BOX], [0.9], [2], [1])) == 0


@pytest.mark.parametrize("measure", [fixed_average_precision, pooled_average_precision])
def test_edges(measure) -> None:
    truth = GroundTruth([BOX], [1], [1])
    assert measure(truth, Detections([], [], [], [])) == 0
    assert measure(GroundTruth([], [], [], images=[1], categories=[1]), Detections([], [], [], [])) == -1
    with pytest.raises(ConfigError, match="per_category is 0: expected a whole number from 1 up, such as 10000"):
        measure(truth, Detections([BOX], [0.9], [1], [1]), per_category=0)
