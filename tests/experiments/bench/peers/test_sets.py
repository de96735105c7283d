"""The random sets are what their sizes say, and the same for everybody."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mapopt.experiments.bench.peers.ours import our_boxes
from mapopt.experiments.bench.peers.sets import SETS, SetSize, make_set
from mapopt.metrics import evaluate

SIZE = SetSize(images=300, categories=5, objects=4, detections=6, present=2)


def test_the_same_seed_makes_the_same_set_and_another_seed_another() -> None:
    first, again, other = make_set(SIZE, seed=3), make_set(SIZE, seed=3), make_set(SIZE, seed=4)
    for field in dataclasses.fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.boxes, other.boxes)


def test_a_set_is_as_large_as_it_says() -> None:
    boxes = make_set(SIZE)
    assert np.array_equal(np.bincount(boxes.image_ids)[1:], np.full(SIZE.images, SIZE.detections))
    assert len(boxes.truth_boxes) / SIZE.images == pytest.approx(SIZE.objects, rel=0.15)
    assert boxes.images.tolist() == list(range(1, 301))
    assert set(boxes.labels) | set(boxes.truth_labels) <= set(boxes.categories.tolist())
    for image in (1, 150, 300):
        assert len(set(boxes.truth_labels[boxes.truth_image_ids == image])) <= SIZE.present


def test_images_without_objects_have_detections_that_are_all_wrong() -> None:
    boxes = make_set(SetSize(images=4, categories=2, objects=0, detections=3))
    assert len(boxes.truth_boxes) == 0
    assert len(boxes.boxes) == 12


@pytest.mark.parametrize("name", ["small", "crowded"])
def test_the_detector_of_the_benchmark_is_neither_useless_nor_perfect(name: str) -> None:
    report = evaluate(*our_boxes(make_set(SETS[name])))
    assert 0.15 < report.ap < 0.6
    assert min(report.stats) > 0, "every one of the twelve numbers is defined and is reached by somebody"
