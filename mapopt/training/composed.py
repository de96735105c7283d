"""The samples of lanes whose recipes name kinds of augmentation, as parts of a batch of all lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mapopt.data.augmentation.always import Draw
from mapopt.data.augmentation.pictures import Objects
from mapopt.data.augmentation.settings import Augmentation
from mapopt.training.device_set import DeviceSet

if TYPE_CHECKING:
    from mapopt.data.augmentation.composing import Composer


def make_composer(
    given: Augmentation, seed: int, start: int, factors: np.ndarray, order: np.ndarray, draws: Draw
) -> Composer:
    """Returns what makes a lane's samples in an interval; see `Composer`."""
    from mapopt.data.augmentation.composing import Composer  # here, because it imports torchvision, which takes a while

    return Composer(given, seed, start, factors, order, draws)


Composed = dict[int, tuple[Tensor, list[int], list[Objects]]]
"""Lane -> the pixels, the places in the interval and the objects of its samples."""


def compose(
    sets: Sequence[DeviceSet],
    composers: Sequence[Composer | None],
    playing: Sequence[int],
    places: slice | Tensor,
) -> Composed:
    """Returns the samples of the lanes that compose theirs, before the kinds that are always there.

    Args:
        sets: each lane's training set.
        composers: of the plan.
        playing: rows that train.
        places: of each lane's samples in the interval, one slice for all or ``[lanes, size]``.
    """
    made: Composed = {}
    for lane in playing:
        composer = composers[lane] if composers else None
        if composer is not None:
            own = range(places.start, places.stop) if isinstance(places, slice) else places[lane].tolist()
            picture_of = sets[lane].fetch(composer.positions(own, len(sets[lane])))
            pictures = [composer.compose(place, picture_of, len(sets[lane])) for place in own]
            pixels = torch.stack([picture.pixels for picture in pictures])
            made[lane] = (pixels, list(own), [picture.objects for picture in pictures])
    return made


def finish(
    composers: Sequence[Composer | None], composed: Composed, images: Tensor, columns: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Completes composed samples in place, and returns boxes, labels and crowd of all lanes with theirs.

    Args:
        composers: of the plan.
        composed: of `compose`.
        images: float ``[lanes, size, 3, h, w]`` with the kinds that are always there, overwritten.
        columns: boxes ``[lanes, size, g, 4]``, labels and crowd ``[lanes, size, g]`` of all lanes as planned.
    """
    from mapopt.data.augmentation.composing import padded

    frame = (images.shape[-2], images.shape[-1])
    finished: dict[int, list[Objects]] = {}
    for lane, (_, places, objects) in composed.items():
        composer = composers[lane]
        assert composer is not None
        finished[lane] = []
        for row, (place, own) in enumerate(zip(places, objects, strict=True)):
            before = images[lane, row]
            image, left = composer.finish(place, before, composer.moved(place, own, frame))
            if image is not before:
                before.copy_(image)
            finished[lane].append(left)
    made = {lane: tuple(padded(samples)) for lane, samples in finished.items()}
    width = max(columns[1].shape[2], *(values[1].shape[1] for values in made.values()))
    boxes, labels, crowd = (_widened(column, width, fill) for column, fill in zip(columns, (0, -1, 0), strict=True))
    for lane, sample_columns in made.items():
        for column, values, fill in zip((boxes, labels, crowd), sample_columns, (0, -1, 0), strict=True):
            column[lane] = fill
            column[lane, :, : values.shape[1]] = values.to(column.device)
    return boxes, labels, crowd


def _widened(column: Tensor, width: int, fill: int) -> Tensor:
    """Returns a copy of a column of targets with room for more objects."""
    wide = column.new_full((*column.shape[:2], width, *column.shape[3:]), fill)
    wide[:, :, : column.shape[2]] = column
    return wide
