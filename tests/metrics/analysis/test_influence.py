"""What an image costs is what AP of the others is more."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.metrics import Detections, GroundTruth, evaluate, image_costs


@pytest.mark.parametrize("seed", range(3))
def test_costs_are_differences_of_ap(seed: int) -> None:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 80, (30, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1)
    images, labels = generator.integers(0, 6, 30) * 10, generator.integers(0, 2, 30)
    rows = generator.permutation(30)[:20]
    moved = boxes[rows] + np.tile(generator.normal(0, 2, (20, 2)), 2)
    scores = np.round(generator.random(20), 1)
    truth = GroundTruth(boxes, labels, images, images=[*range(0, 60, 10), 99])
    lane = Detections(moved, scores, labels[rows], images[rows])
    costs, whole = image_costs(truth, lane), evaluate(truth, lane).ap
    for place, image in enumerate(truth.images.tolist()):
        real, seen = images != image, images[rows] != image
        others = GroundTruth(
            boxes[real], labels[real], images[real], images=truth.images[truth.images != image], categories=[0, 1]
        )
        alone = evaluate(others, Detections(moved[seen], scores[seen], labels[rows][seen], images[rows][seen])).ap
        assert costs[place] == pytest.approx(alone - whole, abs=1e-12)
    assert costs[-1] == 0
