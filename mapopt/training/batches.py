"""The batches of a whole interval as pure functions of (seed, images seen).

Where a recipe names no kinds of augmentation, all objects of an interval are moved at once, and a batch's images
together; where it does, a `Composer` makes the lane's samples image by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.data.augmentation.always import Draw, augment_boxes, augment_images, draw, visible
from mapopt.data.augmentation.settings import MIN_VISIBLE, NONE, Augmentation
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.data.order import sample_order
from mapopt.detectors.interface import Targets
from mapopt.training.class_balance import balanced_probabilities, repeat_factors
from mapopt.training.composed import compose, finish, make_composer
from mapopt.training.device_set import DeviceSet

if TYPE_CHECKING:
    from mapopt.data.augmentation.composing import Composer


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of augmentation that a lane's recipe names."""

    given: Augmentation = NONE
    factors: np.ndarray | None = None
    """Of their probabilities, for each image of the interval; None for 1."""


@dataclass(frozen=True)
class Plan:
    """Which images the lanes see in an interval, how each is augmented, and the objects that are then in it."""

    order: Tensor
    """int64 ``[lanes, images]``."""
    draws: Draw
    """Each tensor ``[lanes, images]``."""
    targets: Targets
    """Padded to the lane with the most objects in an image; here a lane's batch is all its images."""
    playing: tuple[int, ...]
    """Rows that train; the images of the others are black, which costs nothing."""
    composers: tuple[Composer | None, ...] = ()
    """Per lane, what makes its samples where its recipe names kinds of augmentation; their targets are made with them.
    Empty where no lane has one."""

    @cached_property
    def drawn(self) -> Tensor:
        """The draws in one tensor, ``[lanes, images, numbers]``."""
        return torch.stack([getattr(self.draws, name) for name in Draw.__dataclass_fields__], dim=-1)

    def of(self, rows: Sequence[int], *, playing: Sequence[int]) -> Plan:
        """Returns the plan of some rows, one for each that is given.

        Args:
            rows: of this plan.
            playing: which of the new plan's rows train.
        """
        chosen = list(rows)
        counted = self.targets.counted
        columns = {name: value[chosen] for name, value in vars(self.targets).items() if name != "counted"}
        return Plan(
            self.order[chosen],
            Draw(**{name: value[chosen] for name, value in vars(self.draws).items()}),
            Targets(**columns, counted=None if counted is None else counted[chosen]),
            tuple(playing),
            tuple(self.composers[row] for row in chosen) if self.composers else (),
        )


def make_plan(
    seeds: Sequence[int],
    seen: Sequence[int],
    sets: Sequence[DeviceSet],
    strengths: Sequence[np.ndarray],
    device: torch.device,
    *,
    balanced: bool = False,
    repeat_threshold: float = 0.0,
    kinds: Sequence[Kinds] = (),
) -> Plan:
    """Plans an interval.

    Args:
        seeds: one per lane.
        seen: images each lane has seen before.
        sets: each lane's training set.
        strengths: per lane, the augmentation strength of each image of the interval.
        device: where the plan is needed.
        balanced: draw images so that every class comes equally often, instead of every image once an epoch.
        repeat_threshold: repeat images in an epoch for classes that fewer than this fraction of the images hold.
        kinds: per lane, the kinds of augmentation that its recipe names; none by default.
    """
    count = len(strengths[0])
    lanes = list(zip(seeds, seen, sets, strengths, strict=True))
    order = np.stack(
        [
            sample_order(
                seed,
                start,
                count,
                len(own),
                probabilities=balanced_probabilities(own.images.annotations) if balanced else None,
                repeats=repeat_factors(own.images.annotations, repeat_threshold) if repeat_threshold else None,
            )
            for seed, start, own, _ in lanes
        ]
    )
    named = [
        (own.given, np.ones(count) if own.factors is None else own.factors) for own in kinds or [Kinds()] * len(lanes)
    ]
    draws = [
        draw(seed, start, count, strength, given=given, factor=factors)
        for (seed, start, _, strength), (given, factors) in zip(lanes, named, strict=True)
    ]
    composers = tuple(
        make_composer(given, seed, start, factors, own_order, drawn) if given.composes and factors.any() else None
        for (seed, start, _, _), (given, factors), own_order, drawn in zip(lanes, named, order, draws, strict=True)
    )
    stacked = {
        name: torch.stack([getattr(drawn, name) for drawn in draws]).to(device) for name in Draw.__dataclass_fields__
    }
    places = torch.from_numpy(order).to(device)
    drawn = Draw(**stacked)
    targets = _augmented_targets(sets, places, drawn, [given.min_visible for given, _ in named])
    return Plan(places, drawn, targets, tuple(range(len(sets))), composers if any(composers) else ())


def make_batch(
    sets: Sequence[DeviceSet],
    plan: Plan,
    starts: Sequence[int],
    counts: Sequence[int],
    *,
    size: int,
) -> tuple[Tensor, Targets]:
    """Returns the images float ``[lanes, size, 3, h, w]`` and targets of one step of a plan.

    Args:
        sets: each lane's training set.
        plan: the interval's.
        starts: the first of each lane's images, counted from the interval's beginning.
        counts: each lane's images; the plan's next ones fill up its batch, and do not count.
        size: images of every lane's batch.
    """
    lanes, first = len(sets), starts[0]
    places: slice | Tensor
    if all(start == first for start in starts) and all(count == size for count in counts):
        places, counted = slice(first, first + size), None
    else:
        places, counted = _places(plan.order, starts, counts, size)

    def chosen(values: Tensor) -> Tensor:
        if isinstance(places, slice):
            return values[:, places]
        return values[torch.arange(lanes, device=values.device)[:, None], places]

    index, some = chosen(plan.order), list(plan.playing)
    drawn = Draw(*chosen(plan.drawn)[some].movedim(-1, 0).flatten(1))
    composed = compose(sets, plan.composers, plan.playing, places)
    pixels = torch.cat(
        [composed[lane][0] if lane in composed else sets[lane].pixels.index_select(0, index[lane]) for lane in some]
    )
    images = augment_images(pixels, drawn).view(len(some), size, *pixels.shape[1:])
    if len(some) < lanes:
        images = images.new_zeros((lanes, *images.shape[1:])).index_copy(
            0, torch.tensor(some).to(images.device), images
        )
    boxes, labels, crowd = (chosen(getattr(plan.targets, name)) for name in ("boxes", "labels", "crowd"))
    if composed:
        boxes, labels, crowd = finish(plan.composers, composed, images, (boxes, labels, crowd))
    if counted is not None:
        labels = torch.where(counted[..., None], labels, -1)
    return images, Targets(boxes, labels, crowd, counted)


def batches_of_step(
    sets: Sequence[DeviceSet],
    plan: Plan,
    sizes: Sequence[int],
    step: int,
    *,
    size: int,
    pieces: int,
    processes: Processes = ALONE,
) -> Iterator[tuple[Tensor, Targets]]:
    """Yields the batch of a step in equal pieces, and has the images of the next one decoded meanwhile.

    Of every piece each process gets its own part, one after the other.

    Args:
        sets: as for `make_batch`.
        plan: the interval's.
        sizes: images a step of each lane.
        step: position in the interval.
        size: images of every lane's batch.
        pieces: a divisor of the sizes; times the number of processes, too.
        processes: that share the step.
    """
    count = processes.count
    parts, size = [own // (pieces * count) for own in sizes], size // (pieces * count)
    for piece in range(pieces):
        place = piece * count + processes.index
        starts = [step * own + place * part for own, part in zip(sizes, parts, strict=True)]
        batch = make_batch(sets, plan, starts, parts, size=size)
        coming = [start + count * part for start, part in zip(starts, parts, strict=True)]
        expect_batch(sets, plan, coming, parts, size=size)
        yield batch


def expect_batch(
    sets: Sequence[DeviceSet], plan: Plan, starts: Sequence[int], counts: Sequence[int], *, size: int
) -> None:
    """Says which images `make_batch` will ask for next, to sets whose images are decoded by then; costs others nothing.

    Args:
        sets: as for `make_batch`, and so are the others.
        plan: the interval's.
        starts: of the next step.
        counts: of the next step.
        size: images of every lane's batch.
    """
    coming: dict[int, tuple[PixelsOnDemand, list[int]]] = {}
    for lane in plan.playing:
        pixels = sets[lane].pixels
        if isinstance(pixels, PixelsOnDemand) and pixels.workers:
            places, _ = _places(plan.order[lane : lane + 1], starts[lane : lane + 1], counts[lane : lane + 1], size)
            composer = plan.composers[lane] if plan.composers else None
            next_ones = (
                plan.order[lane, places[0]].tolist()
                if composer is None
                else composer.positions(places[0].tolist(), len(sets[lane]))
            )
            coming.setdefault(id(pixels), (pixels, []))[1].extend(next_ones)
    for pixels, wanted in coming.values():
        pixels.expect(wanted)


def expect_images(sets: Sequence[DeviceSet], start: int, count: int) -> None:
    """Says that the images from `start` on are asked for next, to sets whose images are decoded by then."""
    for own in sets:
        if isinstance(own.pixels, PixelsOnDemand):
            own.pixels.expect(range(start, min(start + count, len(own))))


def _places(order: Tensor, starts: Sequence[int], counts: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """Returns where in a plan each lane's batch is, ``[lanes, size]``, and which of it counts."""
    within = torch.arange(size, device=order.device)
    begin, number = (torch.tensor(numbers, device=order.device)[:, None] for numbers in (starts, counts))
    return (begin + within).clamp(max=order.shape[1] - 1), within < number


def _augmented_targets(sets: Sequence[DeviceSet], order: Tensor, draws: Draw, minimums: Sequence[float]) -> Targets:
    """Moves the objects of all of an interval's images at once, which is cheaper than some at every step.

    Args:
        sets: each lane's training set.
        order: of the plan.
        draws: of the plan.
        minimums: per lane, the fraction of a box that has to be left.
    """
    boxes, labels, crowd = gather_targets(sets, order)
    drawn = Draw(**{name: value.reshape(-1) for name, value in vars(draws).items()})
    height, width = sets[0].pixels.shape[-2:]
    moved = augment_boxes(boxes, drawn, (height, width))
    # What was pushed out of the frame is no longer an object; without augmentation every object stays.
    needed: float | Tensor = MIN_VISIBLE
    if any(minimum != MIN_VISIBLE for minimum in minimums):
        needed = moved.new_tensor(minimums).repeat_interleave(order.shape[1])[:, None]
    labels = torch.where(visible(boxes, moved, drawn, minimum=needed) | (drawn.scale == 1)[:, None], labels, -1)
    return Targets(*(column.view(*order.shape, *column.shape[1:]) for column in (moved, labels, crowd)))


def gather_targets(sets: Sequence[DeviceSet], index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns boxes ``[lanes * count, g, 4]``, labels and crowd ``[lanes * count, g]``, padded to the largest lane."""
    width = max(own.labels.shape[1] for own in sets)
    boxes, labels, crowd = [], [], []
    for lane, own in enumerate(sets):
        missing = width - own.labels.shape[1]
        rows = index[lane]
        boxes.append(torch.nn.functional.pad(own.boxes[rows], (0, 0, 0, missing)))
        labels.append(torch.nn.functional.pad(own.labels[rows], (0, missing), value=-1))
        crowd.append(torch.nn.functional.pad(own.crowd[rows], (0, missing)))
    return torch.cat(boxes), torch.cat(labels), torch.cat(crowd)
