"""Images of red rectangles on black, so that what is in a box is seen in the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mapopt.data import Annotations, ImageSet
from mapopt.data.augmentation.settings import Augmentation
from mapopt.training.batches import Kinds, make_batch, make_plan
from mapopt.training.device_set import DeviceSet

CPU = torch.device("cpu")

Sampled = tuple[torch.Tensor, list[np.ndarray], list[np.ndarray]]
"""Images ``[n, 3, h, w]``, and boxes and labels of each."""

Sampler = Callable[..., Sampled]


def red_rectangles(size: tuple[int, int], *, count: int = 12, objects: int = 3, seed: int = 0) -> ImageSet:
    """Returns images of red rectangles; every second one is narrower than its frame, whose rest is gray."""
    rng, (height, width) = np.random.default_rng(seed), size
    pixels = torch.zeros((count, 3, height, width), dtype=torch.uint8)
    boxes, labels, images = [], [], []
    widths = np.where(np.arange(count) % 2, width * 2 // 3, width)
    for image in range(count):
        pixels[image, :, :, widths[image] :] = 127
        for _ in range(objects):
            wide, high = rng.integers(6, widths[image] // 3), rng.integers(6, height // 3)
            x, y = rng.integers(0, widths[image] - wide + 1), rng.integers(0, height - high + 1)
            pixels[image, 0, y : y + high, x : x + wide] = 255
            boxes.append((x, y, x + wide, y + high))
            labels.append(image % 2)
            images.append(image)
    number = len(boxes)
    notes = Annotations(
        image_ids=np.arange(count), file_names=tuple(f"{image}.png" for image in range(count)), widths=widths,
        heights=np.full(count, height), category_ids=np.arange(2), category_names=("even", "odd"),
        boxes=np.array(boxes, float), labels=np.array(labels), images=np.array(images), crowd=np.zeros(number, bool),
        area=np.ones(number), ids=np.arange(number),
    )  # fmt: skip
    return ImageSet(annotations=notes, size=size, pixels=pixels, scale=torch.ones(count))


def sample(
    images: ImageSet, given: Augmentation, *, strength: float = 0.0, count: int = 24, start: int = 0, seed: int = 3
) -> Sampled:
    """Returns the samples of a run."""
    own = DeviceSet(images, CPU)
    plan = make_plan([seed], [start], [own], [np.full(count, strength)], CPU, kinds=[Kinds(given)])
    made, targets = make_batch([own], plan, [0], [count], size=count)
    real = (targets.labels[0] >= 0).numpy()
    boxes, labels = targets.boxes[0].numpy(), targets.labels[0].numpy()
    return made[0], [own[row] for own, row in zip(boxes, real, strict=True)], [
        own[row] for own, row in zip(labels, real, strict=True)
    ]  # fmt: skip


@pytest.fixture
def sampler() -> Sampler:
    return sample


@pytest.fixture(params=[(64, 64), (60, 90)], ids=str)
def scenes(request: pytest.FixtureRequest) -> ImageSet:
    return red_rectangles(request.param)
