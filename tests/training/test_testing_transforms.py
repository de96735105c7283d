"""The battery of tests for transforms of one's own: ours pass, and each planted mistake is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mapopt.errors import ConfigError
from mapopt.training.properties.transform import TRANSFORM_PROPERTIES
from mapopt.training.testing import check_transform

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("transform", [
    v2.RandomVerticalFlip(), v2.RandomGrayscale, v2.RandomPerspective(0.3, p=1.0),
    v2.Compose([v2.RandomRotation(10), v2.SanitizeBoundingBoxes(), v2.ToDtype(torch.float32, scale=True)]),
    "torchvision.transforms.v2:RandomHorizontalFlip",
], ids=str)  # fmt: skip
def test_torchvisions_transforms_pass(transform: Any) -> None:
    check_transform(transform)


@pytest.mark.parametrize(("transform", "name", "said"), [
    (lambda image, target: (image.flip(1), target), "boxes", "with seed 0, 621 of 1381 pixels of objects are in no"),
    (lambda image, target: image, "sample", "with seed 0, transform '<lambda>' returned a value of type Image"),
    (
        lambda image, target: (image, {**target, "labels": target["labels"] + 5}),
        "sample",
        r"with seed 0, labels \[5, 6, 7\] are none of those that it was given",
    ),
    (
        lambda image, target: ((image * GENERATOR.uniform()).to(torch.uint8), target),
        "seeded",
        "twice with seed 0 it returned two samples: it has a generator of its own",
    ),
])  # fmt: skip
def test_a_mistake_is_named(transform: Callable[..., Any], name: str, said: str) -> None:
    with pytest.raises(AssertionError, match=f"<lambda> fails '{name}': {said}"):
        check_transform(transform)
    if name != "sample":  # which the others begin with
        check_transform(transform, properties=[other for other in TRANSFORM_PROPERTIES if other != name])


def test_what_is_no_transform_and_no_property_is_refused() -> None:
    with pytest.raises(ConfigError, match="transform of type int cannot be called"):
        check_transform(3)
    with pytest.raises(ConfigError, match="unknown property 'boxs': did you mean 'boxes'"):
        check_transform(v2.RandomVerticalFlip(), properties=["boxs"])
