"""A transform of one's own, from torchvision.transforms.v2 or of one's own code, with the sample's own random numbers.

It is given an image and its boxes as torchvision's `tv_tensors`, and all that it draws from the global generators of
torch, NumPy and Python follows from the run's seed and the images seen, and moves nobody else's.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from mapopt.data.augmentation.naming import TRANSFORMS
from mapopt.data.augmentation.pictures import Objects
from mapopt.data.augmentation.settings import Augmentation
from mapopt.errors import ConfigError, MapoptError

Transform = Callable[[Any, dict[str, Any]], Any]
"""Takes an image and its target to others."""


def make_transform(given: Augmentation) -> Transform:
    """Returns the transform that settings name.

    Raises:
        ConfigError: it cannot be imported or made of its settings, or what was made cannot be called.
    """
    text, settings = given.transform, given.transform_settings
    part = TRANSFORMS.find(text)
    if inspect.isroutine(part) and not settings and _takes_a_sample(part):
        return part
    made = TRANSFORMS.make(text, settings)
    if not callable(made):
        raise ConfigError(
            f"transform '{text}' made a value of type {type(made).__name__}: expected one that is called with "
            "(image, target)"
        )
    return made


def _takes_a_sample(function: Any) -> bool:
    """Returns whether a function is a transform itself, and does not make one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in, without a signature
        return True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in kinds and each.default is each.empty for each in parameters) == 2


def apply_transform(
    transform: Transform, image: Tensor, objects: Objects, *, seed: int, name: str
) -> tuple[Tensor, Objects]:
    """Returns an image and its objects after a transform.

    Args:
        transform: is called with a `tv_tensors.Image` uint8 ``[3, h, w]`` and a target of ``boxes``
            (`tv_tensors.BoundingBoxes`, xyxy) and ``labels`` (int64 ``[g]`` positions of categories; a region of a
            crowd has -1 less its position), and returns both.
        image: uint8 ``[3, h, w]``.
        objects: in it.
        seed: of all that the transform draws.
        name: what messages call it.

    Raises:
        ConfigError: it fails, or returns something else.
    """
    height, width = image.shape[-2:]
    labels = torch.from_numpy(np.where(objects.crowd, -1 - objects.labels, objects.labels))
    target = {
        "boxes": tv_tensors.BoundingBoxes(
            torch.from_numpy(objects.boxes.astype(np.float32)),
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=(height, width),
        ),
        "labels": labels,
    }
    try:
        with seeded(seed, image.device):
            made = transform(tv_tensors.Image(image), target)
    except MapoptError:
        raise
    except Exception as error:
        detail = str(error).splitlines()[0] if str(error) else ""
        raise ConfigError(f"transform '{name}' failed ({type(error).__name__}: {detail})") from error
    return _read(made, (height, width), name)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Has the global generators of torch, NumPy and Python begin at a seed, and puts them back."""
    devices = [device] if device.type == "cuda" else []
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            np.random.set_state(of_numpy)  # noqa: NPY002
            random.setstate(of_python)


def _read(made: Any, size: tuple[int, int], name: str) -> tuple[Tensor, Objects]:
    """Returns what a transform returned, as a sample has it."""
    pair = made if isinstance(made, tuple | list) and len(made) == 2 else (None, None)
    image, target = pair
    if not isinstance(image, Tensor) or not isinstance(target, dict) or not {"boxes", "labels"} <= target.keys():
        raise ConfigError(
            f"transform '{name}' returned a value of type {type(made).__name__}: expected (image, target), the target "
            "with boxes and labels"
        )
    if tuple(image.shape) != (3, *size):
        raise ConfigError(
            f"transform '{name}' returned an image {list(image.shape)}: expected {[3, *size]}; leave resizing to --size"
        )
    if image.is_floating_point():  # of 0 to 1, as torchvision has it
        image = (image * 255).round().clamp(0, 255)
    boxes, labels = (torch.as_tensor(target[key]).cpu() for key in ("boxes", "labels"))
    if boxes.shape != (len(labels), 4) or labels.dim() != 1:
        raise ConfigError(
            f"transform '{name}' returned boxes {list(boxes.shape)} and labels {list(labels.shape)}: expected as many "
            "of both, [g, 4] and [g]"
        )
    corners, numbers = boxes.as_subclass(Tensor).double().numpy(), labels.as_subclass(Tensor).long().numpy()
    crowd = numbers < 0
    objects = Objects.whole(corners, np.where(crowd, -1 - numbers, numbers), crowd)
    height, width = size
    if not np.isfinite(corners).all():
        raise ConfigError(f"transform '{name}' returned boxes that are not finite: expected xyxy pixels")
    inside = objects.clipped(corners, (0.0, 0.0, float(width), float(height)), minimum=0.0)
    return image.as_subclass(Tensor).to(torch.uint8), inside
