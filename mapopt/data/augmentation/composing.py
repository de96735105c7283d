"""Makes the samples of a run whose recipe names kinds of augmentation: image by image, each from its own numbers.

What is drawn for a sample, and which other images it takes, are functions of the run's seed and of the images seen
before it, so batches, lanes, workers and a resumed run make the same samples. The kinds happen in this order: mosaic,
copy-paste, flips, turns and perspective, MixUp, blur and hue; then those that are always there, for the whole batch at
once; then cut-out, and a transform of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.data.augmentation.always import Draw, augment_boxes, visible
from mapopt.data.augmentation.geometry import GRAY, homography, warp
from mapopt.data.augmentation.looks import blur, fill, hole, turn_hue
from mapopt.data.augmentation.mixing import MOSAIC_NUMBERS, PASTED_NUMBERS, blend, mosaic, paste_objects
from mapopt.data.augmentation.numbers import numbers_of
from mapopt.data.augmentation.pictures import Floats, Objects, Picture, area
from mapopt.data.augmentation.settings import FOLLOWING, Augmentation
from mapopt.data.augmentation.transforms import Transform, apply_transform, make_transform
from mapopt.data.order import sample_seed

GEOMETRY = ("flip_vertical", "quarter_turns", "rotate", "perspective")

_NUMBERS = {
    "mosaic": 1 + 3 + MOSAIC_NUMBERS,
    "copy_paste": 3,
    "flip_vertical": 1,
    "quarter_turns": 2,
    "rotate": 2,
    "perspective": 9,
    "mixup": 3,
    "blur": 2,
    "hue": 2,
    "cut_out": 5,
    "transform": 1,
}
"""Uniform numbers that a sample takes for each kind, the first of which says whether it happens."""

_BLOCK, _BLOCKS = 256, 4
"""Samples that are drawn at once, and how many times so many are kept."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one sample: the numbers of every kind, and which of them happen."""

    numbers: Mapping[str, Floats]
    happens: Mapping[str, bool]

    def others(self, size: int) -> list[int]:
        """Returns the positions of the other images that the sample takes, of a set of so many."""
        positions = []
        if self.happens.get("mosaic"):
            positions += [int(number * size) for number in self.numbers["mosaic"][1:4]]
        for kind in ("copy_paste", "mixup"):
            if self.happens.get(kind):
                positions.append(int(self.numbers[kind][1] * size))
        return positions


@dataclass(frozen=True, eq=False)
class Composer:
    """Makes the samples of one lane in an interval.

    Attributes:
        given: the kinds.
        seed: of the run.
        start: images that the run has seen before the interval.
        factors: ``[images]`` of the kinds' probabilities.
        order: int64 ``[images]``: which image of the set each sample is of.
        draws: of the kinds that are always there, ``[images]``, on the CPU.
    """

    given: Augmentation
    seed: int
    start: int
    factors: Floats
    order: NDArray[np.int64]
    draws: Draw

    @cached_property
    def transform(self) -> Transform | None:
        """The transform of one's own."""
        return make_transform(self.given) if self.given.transform else None

    def drawn(self, place: int) -> Drawn:
        """Returns what is drawn for the sample at a place of the interval."""
        block, row = divmod(place, _BLOCK)
        if block not in self._blocks:
            while len(self._blocks) >= _BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            start = block * _BLOCK
            self._blocks[block] = self._drawn_from(start, min(_BLOCK, len(self.order) - start))
        return self._blocks[block][row]

    @cached_property
    def _blocks(self) -> dict[int, list[Drawn]]:
        """The draws of some samples that follow each other, of those that were asked for last."""
        return {}

    def _drawn_from(self, place: int, count: int) -> list[Drawn]:
        given, numbers, happens = self.given, {}, {}
        for kind in given.kinds:
            if kind in FOLLOWING:
                continue
            wanted = _NUMBERS[kind] + (PASTED_NUMBERS * given.copy_paste_objects if kind == "copy_paste" else 0)
            numbers[kind] = numbers_of(kind, self.seed, self.start + place, count, wanted)
            chance = getattr(given, f"{kind}_probability", 1.0 if kind == "transform" else getattr(given, kind))
            happens[kind] = numbers[kind][:, 0] < chance * self.factors[place : place + count]
        return [
            Drawn(
                {kind: values[row] for kind, values in numbers.items()},
                {kind: bool(values[row]) for kind, values in happens.items()},
            )
            for row in range(count)
        ]

    def positions(self, places: Sequence[int], size: int) -> list[int]:
        """Returns the positions of all images that the samples at some places are made of, each once."""
        every: dict[int, None] = {}
        for place in places:
            every |= dict.fromkeys([int(self.order[place]), *self.drawn(place).others(size)])
        return list(every)

    def compose(self, place: int, picture_of: Callable[[int], Picture], size: int) -> Picture:
        """Returns a sample as far as it is made before those kinds that are always there.

        Args:
            place: in the interval.
            picture_of: the image at a position of the set.
            size: images in the set.
        """
        given, drawn, minimum = self.given, self.drawn(place), self.given.min_visible
        happens, numbers = drawn.happens, drawn.numbers
        picture, others = picture_of(int(self.order[place])), iter(drawn.others(size))
        if happens.get("mosaic"):
            four = [picture, *(picture_of(next(others)) for _ in range(3))]
            picture = mosaic(four, numbers["mosaic"][4:], zoom=given.mosaic_zoom, minimum=minimum)
        if happens.get("copy_paste"):
            other = picture_of(next(others))
            picture = paste_objects(picture, other, numbers["copy_paste"][2:], minimum=minimum)
        matrix = homography(given, numbers, happens, picture.size)
        if matrix is not None:
            picture = warp(picture, matrix, minimum=minimum)
        if happens.get("mixup"):
            picture = blend(picture, picture_of(next(others)), given.mixup_weight * float(numbers["mixup"][2]))
        if happens.get("blur"):
            picture = replace(picture, pixels=blur(picture.pixels, given.blur * float(numbers["blur"][1])))
        if happens.get("hue"):
            picture = replace(picture, pixels=turn_hue(picture.pixels, given.hue * float(2 * numbers["hue"][1] - 1)))
        return picture

    def moved(self, place: int, objects: Objects, size: tuple[int, int]) -> Objects:
        """Returns objects after those kinds that are always there.

        Args:
            place: in the interval.
            objects: of the sample, as composed.
            size: (height, width) of the frame.
        """
        drawn = Draw(**{name: value[place : place + 1] for name, value in vars(self.draws).items()})
        before = torch.from_numpy(objects.boxes.astype(np.float32))[None]
        after = augment_boxes(before, drawn, size)
        corners = after[0].numpy().astype(np.float64)
        scale = float(drawn.scale[0])
        if scale == 1:  # without cropping every object stays
            return replace(objects, boxes=corners)
        # As for a lane that composes nothing, to the bit.
        needed = torch.from_numpy((self.given.min_visible / np.maximum(objects.left, 1e-9)).astype(np.float32))[None]
        kept = visible(before, after, drawn, minimum=needed)[0].numpy()
        left = objects.left * area(corners) / np.maximum(area(objects.boxes) * scale**2, 1e-9)
        return replace(objects, boxes=corners, left=np.minimum(left, objects.left)).select(kept)

    def finish(self, place: int, image: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
        """Returns a sample with what comes after those kinds that are always there.

        Args:
            place: in the interval.
            image: float ``[3, h, w]`` of 0 to 255.
            objects: in it.
        """
        drawn = self.drawn(place)
        if drawn.happens.get("cut_out"):
            height, width = image.shape[-2:]
            rectangle = hole(drawn.numbers["cut_out"][1:], self.given.cut_out_size, (height, width))
            image = fill(image, rectangle, GRAY)
            objects = objects.covered(rectangle, minimum=self.given.min_visible)
        if drawn.happens.get("transform"):
            assert self.transform is not None
            seed = sample_seed(self.seed, self.start + place, stream=_TRANSFORM_SEEDS)
            pixels, objects = apply_transform(
                self.transform, image.round().to(torch.uint8), objects, seed=seed, name=self.given.transform
            )
            image = pixels.float()
        return image, objects


_TRANSFORM_SEEDS = 5
"""Stream of the seeds of transforms of one's own."""


def padded(samples: Sequence[Objects]) -> Iterator[Tensor]:
    """Yields the boxes float32 ``[n, g, 4]``, labels ``[n, g]`` and crowd ``[n, g]`` of samples, padded to the most."""
    width = max(1, *(len(objects) for objects in samples)) if samples else 1
    boxes = np.zeros((len(samples), width, 4), np.float32)
    labels, crowd = np.full((len(samples), width), -1), np.zeros((len(samples), width), bool)
    for row, objects in enumerate(samples):
        boxes[row, : len(objects)] = objects.boxes
        labels[row, : len(objects)], crowd[row, : len(objects)] = objects.labels, objects.crowd
    yield from map(torch.from_numpy, (boxes, labels, crowd))
