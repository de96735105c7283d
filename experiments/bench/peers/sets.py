"""Random boxes of several sizes, the same for every evaluator that is timed on them.

Objects and detections have the statistics of COCO: few categories in an image, one box in a hundred a crowd, and a
mediocre detector that is right about every second time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxSet:
    """Objects, and the detections of a detector as it leaves them: an array per column, corners in pixels.

    Attributes:
        truth_boxes: ``[g, 4]`` float64 corners x1, y1, x2, y2.
        truth_labels: ``[g]`` int64 category ids.
        truth_image_ids: ``[g]`` int64 image ids, ascending.
        truth_crowd: ``[g]`` True for a crowd.
        boxes: ``[d, 4]`` float32 corners of the detections.
        scores: ``[d]`` float32.
        labels: ``[d]`` int64 category ids.
        image_ids: ``[d]`` int64 image ids, ascending.
        images: Ids of all images.
        categories: Ids of all categories.
    """

    truth_boxes: NDArray[np.float64]
    truth_labels: NDArray[np.int64]
    truth_image_ids: NDArray[np.int64]
    truth_crowd: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    images: NDArray[np.int64]
    categories: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SetSize:
    """How large a random set is."""

    images: int
    categories: int
    objects: float
    """A mean per image."""
    detections: int
    """In every image."""
    present: int = 3
    """Categories that occur in one image, at most."""


SETS: dict[str, SetSize] = {
    "small": SetSize(images=64, categories=80, objects=7.3, detections=100),
    "medium": SetSize(images=512, categories=80, objects=7.3, detections=100),
    "coco": SetSize(images=5000, categories=80, objects=7.3, detections=100),
    "crowded": SetSize(images=200, categories=3, objects=80, detections=400),
}
"""The sets of the benchmark: 64 images, 512, as many as COCO's validation, and few images full of few categories."""


def make_set(size: SetSize, *, seed: int = 0) -> BoxSet:
    """Returns a random set; the same seed makes the same one.

    >>> len(make_set(SETS["small"]).scores)
    6400
    """
    generator = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, size.categories + 1)
    frequency /= frequency.sum()
    each = generator.poisson(size.objects, size.images)
    truth_image_ids = np.repeat(np.arange(1, size.images + 1), each)
    present = generator.choice(size.categories, (size.images, size.present), p=frequency) + 1
    truth_labels = present[truth_image_ids - 1, generator.integers(0, size.present, len(truth_image_ids))]
    real = _boxes(generator, len(truth_image_ids))

    image_ids = np.repeat(np.arange(1, size.images + 1), size.detections)
    count = len(image_ids)
    here = each[image_ids - 1]
    stray = (generator.random(count) < 0.5) | (here == 0)
    aim = (np.cumsum(each) - each)[image_ids - 1] + (generator.random(count) * here).astype(np.int64)
    aim = aim[~stray]
    boxes = _boxes(generator, count)
    sides = real[aim, 2:] - real[aim, :2]
    moved = real[aim] + generator.normal(0, 0.08, (len(aim), 4)) * np.tile(sides, 2)
    boxes[~stray] = np.sort(moved.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    labels = generator.choice(size.categories, count) + 1
    right = generator.random(count) < 0.8
    labels[np.flatnonzero(~stray)[right[~stray]]] = truth_labels[aim[right[~stray]]]
    scores = np.where(stray, generator.beta(1, 4, count), generator.beta(3, 3, count))
    return BoxSet(
        truth_boxes=real,
        truth_labels=truth_labels,
        truth_image_ids=truth_image_ids,
        truth_crowd=generator.random(len(real)) < 0.01,
        boxes=boxes.astype(np.float32),
        scores=scores.astype(np.float32),
        labels=labels,
        image_ids=image_ids,
        images=np.arange(1, size.images + 1),
        categories=np.arange(1, size.categories + 1),
    )


def _boxes(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Returns ``[n, 4]`` boxes inside 640 x 640 pixels; small, medium and large ones alike."""
    side = np.exp(generator.normal(4, 1, (count, 2))).clip(4, 400)
    corner = generator.uniform(0, 1, (count, 2)) * (640 - side)
    return np.concatenate([corner, corner + side], axis=1)
