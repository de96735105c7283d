"""Random scenes made to be hard: ties, duplicates, crowds, empty boxes, edges of area ranges, gaps in ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mapopt.metrics import Detections, GroundTruth

EDGES = (31.0, 32.0, 33.0, 95.0, 96.0, 97.0)


Scene = tuple[GroundTruth, Detections]


@pytest.fixture(scope="session")
def hard_scene() -> Callable[[int], Scene]:
    """Gives a function from a seed to a scene."""
    return make_hard_scene


@pytest.fixture(scope="session")
def confused_scene() -> Callable[[int], Scene]:
    """The same, where a third of the detections has a category at random."""

    def make(seed: int) -> Scene:
        truth, lane = make_hard_scene(seed)
        generator = np.random.default_rng(seed)
        strange = generator.random(len(lane)) < 1 / 3
        labels = np.where(strange, generator.choice(truth.categories, len(lane)), lane.labels)
        return truth, Detections(lane.boxes, lane.scores, labels, lane.image_ids)

    return make


def make_hard_scene(seed: int) -> Scene:
    """Returns a scene in which every kind of difficulty occurs by chance, alone or with others."""
    generator = np.random.default_rng(seed)
    chance = generator.random
    images = np.sort(generator.choice(10**6, int(generator.integers(1, 7)), replace=False))
    categories = np.sort(generator.choice(500, int(generator.integers(1, 4)), replace=False))
    if chance() < 0.3:  # ids that lie close together take another way through the lookup than those far apart
        images, categories = np.arange(len(images)), np.arange(len(categories)) - 1
    size = float(generator.choice([20, 60, 250, 1e7]))
    grid = chance() < 0.4

    def boxes(count: int) -> np.ndarray:
        corner, sides = generator.uniform(0, size, (count, 2)), generator.uniform(0.02, 0.7, (count, 2)) * size
        exact = generator.random(count) < 0.15
        sides[exact] = generator.choice(EDGES, (int(exact.sum()), 1))
        sides[generator.random((count, 2)) < generator.choice([0, 0.1])] = 0
        corners = np.concatenate([corner, corner + sides], axis=1)
        if grid:
            corners = np.round(corners / size * 8) * size / 8
        return np.round(corners) if chance() < 0.3 else corners

    count = int(generator.choice([0, 3, 15, 40], p=[0.05, 0.25, 0.5, 0.2]))
    real = boxes(count)
    labels, image_ids = generator.choice(categories, count), generator.choice(images, count)
    if count and chance() < 0.4:
        copies = generator.integers(0, count, count)
        real, labels, image_ids = real[copies], labels[copies], image_ids[copies]
    crowd = generator.random(count) < generator.choice([0, 0.2, 0.7, 1], p=[0.4, 0.35, 0.2, 0.05])
    area = None
    if chance() < 0.5:
        area = np.prod(real[:, 2:] - real[:, :2], axis=1) * generator.choice([0.5, 1, 1.0, 2], count)
        area = np.where(generator.random(count) < 0.2, generator.choice([0.0, 1024, 9216, 1e10, 1e11], count), area)
    truth = GroundTruth(real, labels, image_ids, crowd=crowd, area=area, images=images, categories=categories)

    wanted = int(generator.choice([0, 8, 60, 150, 350], p=[0.05, 0.25, 0.4, 0.2, 0.1]))
    predicted, predicted_labels, predicted_images = (
        boxes(wanted),
        generator.choice(np.append(categories, 10**4), wanted),
        generator.choice(images[: max(1, len(images) - 1)], wanted),
    )
    if count:
        near = generator.random(wanted) < 0.7
        pick = generator.integers(0, count, int(near.sum()))
        noise = generator.normal(0, float(generator.choice([0, 0.02, 0.1])), (len(pick), 4))
        moved = real[pick] + noise * np.tile(real[pick, 2:] - real[pick, :2], 2)
        predicted[near] = np.concatenate(
            [np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])], axis=1
        )
        predicted_labels[near], predicted_images[near] = labels[pick], image_ids[pick]
    scores = generator.normal(0, 1, wanted)
    if chance() < 0.5:
        scores = generator.choice([-0.5, -0.0, 0.0, 0.25, 0.75], wanted)
    elif chance() < 0.5:
        scores = scores.astype(np.float32)
    if chance() < 0.3:
        order = np.argsort(predicted_images, kind="stable")
        predicted, scores = predicted[order], scores[order]
        predicted_labels, predicted_images = predicted_labels[order], predicted_images[order]
    if chance() < 0.2:
        predicted = np.maximum.accumulate(predicted.astype(np.float32).reshape(wanted, 2, 2), axis=1).reshape(wanted, 4)
    return truth, Detections(predicted, scores, predicted_labels, predicted_images)
