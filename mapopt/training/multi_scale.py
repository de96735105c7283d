"""Steps at other sizes: a batch grows or shrinks as a whole, so that objects of all sizes are seen at all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mapopt.data.order import sample_seed
from mapopt.detectors.interface import Targets
from mapopt.detectors.registry import detector_kind
from mapopt.errors import ConfigError
from mapopt.training.recipe import Recipe

_STREAM = 3


def step_size(
    size: tuple[int, int], fraction: float, seed: int, seen: int, *, multiple: int, shortest: int
) -> tuple[int, int]:
    """Returns the (height, width) of a step's images, all sizes in reach being equally likely.

    Args:
        size: (height, width) of the detector.
        fraction: by which the sides may grow or shrink.
        seed: of the lane.
        seen: images before this step.
        multiple: of which sides are multiples.
        shortest: what sides have at the least.

    >>> [step_size((96, 128), 0.5, 1, seen, multiple=32, shortest=32) for seen in (0, 16, 32)]
    [(96, 128), (96, 128), (128, 160)]
    """
    height, width = size
    sides = heights_of_steps(height, fraction, multiple=multiple, shortest=shortest)
    chosen = int(np.random.default_rng(sample_seed(seed, seen, stream=_STREAM)).choice(sides))
    across = round(width * chosen / height / multiple) * multiple
    return chosen, max(across, -(-shortest // multiple) * multiple)


def heights_of_steps(height: int, fraction: float, *, multiple: int, shortest: int) -> NDArray[np.int64]:
    """Returns the heights that a step's images can have; see `step_size`.

    >>> heights_of_steps(320, 0.7, multiple=32, shortest=32)[[0, -1]]
    array([ 96, 544])
    """
    # Rounded, because .3 * 320 is 96.00000000000001.
    low, high = (round(height * (1 + sign * fraction) / multiple, 9) for sign in (-1, 1))
    first = max(-(-shortest // multiple), math.ceil(low))
    return np.arange(first, max(first, math.floor(high)) + 1) * multiple


def check_sizes(recipe: Recipe, size: tuple[int, int]) -> None:
    """Raises ConfigError where steps are to have other sizes, and there is none in reach.

    Args:
        recipe: whose `multi_scale` says how much sizes vary.
        size: (height, width) of the detector.
    """
    if not recipe.multi_scale:
        return
    kind = detector_kind(recipe.detector)

    def count(fraction: float) -> int:
        return len(heights_of_steps(size[0], fraction, multiple=kind.size_multiple, shortest=kind.min_side))

    if count(recipe.multi_scale) > 1:
        return
    enough = next((hundredths / 100 for hundredths in range(1, 76) if count(hundredths / 100) > 1), None)
    raise ConfigError(
        f"multi_scale is {recipe.multi_scale} with images of {size[0]}x{size[1]} pixels for detector "
        f"'{recipe.detector}', whose sides are multiples of {kind.size_multiple}, and no other height is in reach: "
        + (f"expected {enough} or more" if enough else "expected larger images")
        + ", or leave it out"
    )


def at_other_sizes(
    batches: Iterable[tuple[Tensor, Targets]], recipe: Recipe, size: tuple[int, int], seed: int, seen: int
) -> Iterator[tuple[Tensor, Targets]]:
    """Yields the batches of a step at the size that the step has.

    Args:
        batches: images ``[lanes, batch, 3, h, w]`` and targets.
        recipe: whose `multi_scale` says how much sizes vary.
        size: (height, width) of the detector.
        seed: of the lane.
        seen: images before this step.
    """
    kind = detector_kind(recipe.detector)
    own = step_size(size, recipe.multi_scale, seed, seen, multiple=kind.size_multiple, shortest=kind.min_side)
    return (resized(images, targets, own) for images, targets in batches)


def resized(images: Tensor, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Targets]:
    """Returns images ``[lanes, batch, 3, h, w]`` with another (height, width), and their boxes with them."""
    before = (images.shape[-2], images.shape[-1])
    if before == size:
        return images, targets
    # Where images shrink, a pattern of single pixels would become another one without antialiasing.
    pixels = functional.interpolate(images.flatten(0, 1), size, mode="bilinear", antialias=True).clamp_(0, 255)
    scale = torch.tensor([size[1] / before[1], size[0] / before[0]] * 2, device=images.device)
    return pixels.view(*images.shape[:2], *pixels.shape[1:]), dataclasses.replace(targets, boxes=targets.boxes * scale)
