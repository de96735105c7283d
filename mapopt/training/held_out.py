"""The losses on images that are not trained on: what the surrogate says where AP is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mapopt.detectors.interface import Detector, KnobTable, Targets
from mapopt.training.batches import DeviceSet, gather_targets


@torch.no_grad()
def held_out_losses(
    detector: Detector, sets: Sequence[DeviceSet], knobs: KnobTable, *, batch_size: int
) -> dict[str, Tensor]:
    """Returns the unweighted losses ``{"class": [lanes], "box": [lanes]}`` on sets as they are, without augmentation.

    A ranking loss ranks batches as in training; the batches' values are averaged by their images. What losses and norms
    remember from step to step is put back.

    Args:
        detector: with the weights to be measured.
        sets: each lane's images, equally many.
        knobs: values per lane; those of the losses' weights are ignored.
        batch_size: images ranked together.
    """
    count, lanes, device = len(sets[0]), len(sets), sets[0].pixels.device
    full = torch.ones(lanes, device=device)
    before = {name: value.clone() for name, value in detector.buffers().items()}
    sums = {"class": torch.zeros_like(full), "box": torch.zeros_like(full)}
    for start in range(0, count, batch_size):
        index = torch.arange(start, min(start + batch_size, count), device=device)
        columns = gather_targets(sets, index.expand(lanes, -1))
        targets = Targets(*(column.unflatten(0, (lanes, len(index))) for column in columns))
        images = torch.stack([own.pixels.index_select(0, index) for own in sets]).float()
        unweighted = {**knobs, "class_weight": full, "box_weight": full}
        for name, value in detector.losses(images, targets, unweighted, seed=0).items():
            if name in sums:
                sums[name] += value * len(index) / count
    for name, value in detector.buffers().items():
        value.copy_(before[name])
    return sums
