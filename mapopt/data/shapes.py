"""Makes detection problems from a seed: scenes of turned, shaded, partly hidden shapes on textured ground.

A scene is a pure function of ``(seed, index)`` and of the parameters in `ShapesConfig`, so a data set of any size needs
no download and no storage, and a parameter changes one thing at a time. Shading, stripes and size are drawn alike for
all classes: the outline tells what a shape is, and the color as much as `ShapesConfig.color` lets it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mapopt.data.annotations import Annotations
from mapopt.data.images import ImageSet
from mapopt.data.memory import check_memory
from mapopt.data.outlines import CLASSES
from mapopt.data.scenes import Objects, draw_scenes
from mapopt.data.shapes_config import MAX_SEED, ShapesConfig, check_range
from mapopt.data.splits import Splits

_VAL_START = 1 << 30
_TEST_START = 1 << 31
_BATCH = 64


def make_shapes(config: ShapesConfig | None = None, *, seed: int, count: int, start: int = 0) -> ImageSet:
    """Makes scenes number `start` to ``start + count - 1`` of a seed, in memory.

    Args:
        config: the parameters; None takes their defaults.
        seed: 0 to `MAX_SEED`.
        count: how many scenes, at least 1.
        start: the first scene's number.

    Raises:
        ConfigError: seed, count or start is out of range.

    >>> scenes = make_shapes(seed=0, count=2)
    >>> scenes.pixels.shape, scenes.annotations.category_names
    (torch.Size([2, 3, 48, 48]), ('disc', 'box', 'triangle'))
    """
    config = config or ShapesConfig()
    check_range("seed", seed, 0, MAX_SEED, whole=True)
    check_range("count", count, 1, 2**30, whole=True)
    check_range("start", start, 0, 2**32, whole=True)
    check_memory([count], (config.size, config.size), flags="--scenes.size or --scene-counts")
    pixels = np.empty((count, 3, config.size, config.size), dtype=np.uint8)
    parts: list[Objects] = []
    for first in range(0, count, _BATCH):
        last = min(first + _BATCH, count)
        pixels[first:last], objects = draw_scenes(config, seed=seed, start=start + first, count=last - first)
        parts.append(replace(objects, scene=objects.scene + first))
    boxes = np.concatenate([part.boxes for part in parts])
    names = tuple(f"shapes-{seed}-{index}.png" for index in range(start, start + count))
    sides = boxes[:, 2:] - boxes[:, :2]
    annotations = Annotations(
        image_ids=np.arange(start, start + count),
        file_names=names,
        widths=np.full(count, config.size),
        heights=np.full(count, config.size),
        category_ids=np.arange(1, config.classes + 1),
        category_names=CLASSES[: config.classes],
        boxes=boxes,
        labels=np.concatenate([part.labels for part in parts]),
        images=np.concatenate([part.scene for part in parts]),
        crowd=np.zeros(len(sides), dtype=bool),
        area=sides[:, 0] * sides[:, 1],
        ids=np.arange(1, len(sides) + 1),
    )
    return ImageSet(
        annotations=annotations,
        size=(config.size, config.size),
        pixels=torch.from_numpy(pixels),
        scale=torch.ones(count),
    )


def make_shapes_splits(
    config: ShapesConfig | None = None, *, seed: int, train: int = 512, val: int = 128, test: int = 512
) -> Splits:
    """Makes the three sets of a task from one seed; label noise is in the train set only.

    The sets take their scenes from fixed ranges of numbers, so none is in two sets, and more training scenes leave the
    val and test sets as they are.

    Raises:
        ConfigError: a number of scenes is out of range.
        DataError: a set has no object; make it larger.
    """
    config = config or ShapesConfig()
    check_range("train", train, 1, _VAL_START, whole=True)
    check_memory([train, val, test], (config.size, config.size), flags="--scenes.size or --scene-counts")
    clean = replace(config, label_noise=0.0)
    return Splits(
        train=make_shapes(config, seed=seed, count=train),
        val=make_shapes(clean, seed=seed, count=val, start=_VAL_START),
        test=make_shapes(clean, seed=seed, count=test, start=_TEST_START),
    )
