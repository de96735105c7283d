"""Transforms of one's own: what they are given, what they may return, and what is said of anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from mapopt.data.augmentation.pictures import Objects
from mapopt.data.augmentation.transforms import apply_transform
from mapopt.errors import ConfigError

IMAGE = torch.arange(3 * 20 * 30).remainder(256).to(torch.uint8).view(3, 20, 30)
OBJECTS = Objects.whole(
    np.array([[2.0, 3.0, 12.0, 9.0], [20.0, 10.0, 28.0, 18.0]]), np.array([1, 0]), np.array([0, 1]) > 0
)

Sample = tuple[torch.Tensor, Objects]


def apply(transform: Callable[..., Any], seed: int = 0) -> Sample:
    return apply_transform(transform, IMAGE, OBJECTS, seed=seed, name="mine:own")


def test_it_is_given_tv_tensors_and_what_it_returns_is_taken() -> None:
    given: list[Any] = []

    def look(image: Any, target: dict[str, Any]) -> Any:
        given.append((image, target))
        return image, target

    image, objects = apply(look)
    assert isinstance(given[0][0], tv_tensors.Image)
    assert isinstance(given[0][1]["boxes"], tv_tensors.BoundingBoxes)
    assert given[0][1]["boxes"].canvas_size == (20, 30)
    assert given[0][1]["labels"].tolist() == [1, -1]
    assert type(image) is torch.Tensor
    assert torch.equal(image, IMAGE)
    assert np.array_equal(objects.boxes, OBJECTS.boxes)
    assert objects.labels.tolist() == [1, 0]
    assert objects.crowd.tolist() == [False, True]


def test_boxes_move_with_torchvisions_transforms_and_are_clipped_to_the_frame() -> None:
    image, objects = apply(v2.RandomVerticalFlip(1.0))
    assert torch.equal(image, IMAGE.flip(1))
    assert objects.boxes.tolist() == [[2.0, 11.0, 12.0, 17.0], [20.0, 2.0, 28.0, 10.0]]

    def push(image: Any, target: dict[str, Any]) -> Any:
        return image, {"boxes": target["boxes"] + torch.tensor([10.0, 0, 10, 0]), "labels": target["labels"]}

    _, pushed = apply(push)
    assert pushed.boxes.tolist() == [[12.0, 3.0, 22.0, 9.0]], "what is outside is gone"
    assert pushed.labels.tolist() == [1]


def test_the_seed_decides_what_is_drawn() -> None:
    jitter = v2.ColorJitter(brightness=0.5)
    assert torch.equal(apply(jitter, 1)[0], apply(jitter, 1)[0])
    assert not torch.equal(apply(jitter, 1)[0], apply(jitter, 2)[0])


def test_boxes_that_are_sanitized_and_images_of_0_to_1_are_taken() -> None:
    chain = v2.Compose(
        [v2.RandomIoUCrop(), v2.Resize((20, 30)), v2.SanitizeBoundingBoxes(), v2.ToDtype(torch.float32, scale=True)]
    )
    for seed in range(8):
        image, objects = apply(chain, seed)
        assert image.dtype == torch.uint8
        assert image.shape == IMAGE.shape
        assert len(objects.boxes) == len(objects.labels) == len(objects.crowd)
    scaled, _ = apply(lambda image, target: (image.float() / 255, target))
    assert torch.equal(scaled, IMAGE)


def test_an_image_without_objects_passes_through() -> None:
    empty = OBJECTS.select(np.zeros(2, bool))
    image, objects = apply_transform(v2.RandomVerticalFlip(1.0), IMAGE, empty, seed=0, name="mine:own")
    assert len(objects) == 0
    assert torch.equal(image, IMAGE.flip(1))


def fails(image: Any, target: Any) -> Any:
    raise ValueError("no such thing")


@pytest.mark.parametrize(("transform", "said"), [
    (fails, r"failed \(ValueError: no such thing\)"),
    (lambda image, target: image, "returned a value of type Image: expected .image, target., the target with boxes"),
    (lambda image, target: (image, None), "returned a value of type tuple: expected .image, target."),
    (
        lambda image, target: (image, {"boxes": target["boxes"]}),
        "returned a value of type tuple: expected .image, target., the target with boxes",
    ),
    (lambda image, target: (image[:, :10], target), r"returned an image \[3, 10, 30\]: expected \[3, 20, 30\]"),
    (
        lambda image, target: (image, {**target, "labels": target["labels"][:1]}),
        r"returned boxes \[2, 4\] and labels \[1\]: expected as many of both",
    ),
    (
        lambda image, target: (image, {**target, "boxes": target["boxes"] / 0 - target["boxes"] / 0}),
        "returned boxes that are not finite: expected xyxy pixels",
    ),
])  # fmt: skip
def test_what_is_no_sample_is_refused_with_what_is_expected(transform: Callable[..., Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"transform 'mine:own' {said}"):
        apply(transform)
