"""The losses on images that are not trained on: what the surrogate says where AP is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.interface import Detector, KnobTable, Targets, keeping_components
from mapopt.training.batches import expect_images, gather_targets
from mapopt.training.device_set import DeviceSet


@torch.no_grad()
def held_out_losses(
    detector: Detector,
    sets: Sequence[DeviceSet],
    knobs: KnobTable,
    *,
    batch_size: int,
    components: bool = False,
    processes: Processes = ALONE,
) -> list[dict[str, Any]]:
    """Returns per lane the unweighted losses ``class_loss`` and ``box_loss`` on its set as it is, without augmentation.

    Where they are asked for, ``components`` are beside them: name -> value.

    A ranking loss ranks batches as in training; the batches' values are averaged by their images. What losses and norms
    remember from step to step is put back.

    Args:
        detector: with the weights to be measured.
        sets: each lane's images, equally many.
        knobs: values per lane; those of the losses' weights are ignored.
        batch_size: images ranked together.
        components: whether these are wanted, too.
        processes: that share the batches, each of which is computed by one of them; but where losses remember.
    """
    count, lanes, device = len(sets[0]), len(sets), sets[0].pixels.device
    full = torch.ones(lanes, device=device)
    before = {name: value.clone() for name, value in detector.buffers().items()}
    sums = {"class": torch.zeros_like(full), "box": torch.zeros_like(full)}
    parts: dict[str, Tensor] = {}
    # A loss that remembers ranks a batch among those before it.
    remembers = getattr(getattr(detector, "loss", None), "remembers", False)
    processes = ALONE if remembers else processes
    for start in processes.part(range(0, count, batch_size)):
        index = torch.arange(start, min(start + batch_size, count), device=device)
        columns = gather_targets(sets, index.expand(lanes, -1))
        targets = Targets(*(column.unflatten(0, (lanes, len(index))) for column in columns))
        images = torch.stack([own.pixels.index_select(0, index) for own in sets]).float()
        expect_images(sets, start + batch_size, batch_size)
        unweighted = {**knobs, "class_weight": full, "box_weight": full}
        with keeping_components(detector, wanted=components) as kept:
            losses = detector.losses(images, targets, unweighted, seed=0)
        for name, value in losses.items():
            if name in sums:
                sums[name] += value * len(index) / count
        for name, value in kept.items():
            parts[name] = parts.get(name, torch.zeros_like(full)) + value * len(index) / count
    for name, value in detector.buffers().items():
        value.copy_(before[name])
    sums, parts = _of_all(processes, sums), _of_all(processes, parts)
    measured = {f"{name}_loss": value.tolist() for name, value in sums.items()}
    named = {name: value.tolist() for name, value in parts.items()}
    return [
        {name: values[lane] for name, values in measured.items()}
        | ({"components": {name: values[lane] for name, values in named.items()}} if components else {})
        for lane in range(lanes)
    ]


def _of_all(processes: Processes, sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds up what every process has, by name."""
    tables = processes.each({name: value.cpu() for name, value in sums.items()}) if processes.several else [sums]
    added = dict(tables[0])
    for table in tables[1:]:
        for name, value in table.items():
            added[name] = added[name] + value if name in added else value
    return added
