"""Checks of the objects beside the network's input: too small to be seen, or without a location that answers for them.

What a detector of ours assigns is computed as in training, on a sample of the train images as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mapopt.detectors.dense.geometry import make_priors, pairwise_iou, prior_boxes
from mapopt.training.diagnosis.case import Case, network_boxes
from mapopt.training.diagnosis.findings import Finding, measured

SMALL = 4.0
"""Pixels of the network's input below which a shorter side is called too short: half a stride of the tiny detector."""
_LOW_IOU = 0.25
"""The IoU at which the default assignment begins: objects that no prior overlaps by that much fit no prior at all."""


def check_sizes(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the train objects that are too small in the network's input."""
    boxes, _, _ = network_boxes(case.images["train"])
    sides = boxes[:, 2:] - boxes[:, :2]
    shorter = sides.amin(1)
    height, width = case.images["train"].size
    fraction = float((shorter < SMALL).float().mean())
    middle = float(shorter.median())
    factor = max(2.0, 2 * SMALL / max(middle, 0.1))
    larger = [int(-(-side * factor // 32) * 32) for side in (height, width)]
    yield measured(
        "small_objects",
        fraction,
        f"{fraction:.0%} of the objects have a side below {SMALL:g} pixels in the network's input of {width} x "
        f"{height}; the median of the shorter sides is {middle:.1f}",
        f"--size {larger[0]} {larger[1]}, or a part of each image at its full size",
    )


def check_assignment(case: Case) -> Iterator[Finding]:
    """Yields the fraction of the train objects that no prior overlaps by the IoU from which locations are positives."""
    if case.recipe.assignment != "iou" or case.recipe.detector not in ("tiny", "nano", "resnet18", "resnet50"):
        return
    from mapopt.detectors.dense.module_network import ModuleNetwork
    from mapopt.detectors.dense.nano import NanoNetwork
    from mapopt.detectors.dense.resnet import ResNetNetwork
    from mapopt.detectors.dense.tiny import TinyNetwork

    networks: dict[str, type[TinyNetwork | ModuleNetwork]] = {
        "tiny": TinyNetwork,
        "nano": NanoNetwork,
        "resnet18": ResNetNetwork,
        "resnet50": ResNetNetwork,
    }
    network = networks[case.recipe.detector]
    boxes, _, _ = network_boxes(case.images["train"])
    height, width = case.images["train"].size
    maps = [(-(-height // stride), -(-width // stride)) for stride in network.strides]
    places = prior_boxes(make_priors(maps, network.strides, network.prior_sizes))
    best = torch.cat([pairwise_iou(part, places).amax(1) for part in boxes.split(512)])
    wanted = lowest_iou(case)
    fraction, fit = float((best < wanted).float().mean()), float((best < _LOW_IOU).float().mean())
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    prior = f"{', '.join(f'{size:g}' for size in network.prior_sizes)} pixels"
    if fit > fraction / 2:
        middle = float(sides.median())
        factor = min(network.prior_sizes, key=lambda size: abs(size - middle)) / max(middle, 0.1)
        near = [max(32, int(round(side * factor / 32) * 32)) for side in (height, width)]
        change, why = f"--size {near[0]} {near[1]}", f"they are {middle:.0f} pixels (the median), the priors {prior}"
    else:
        change = "--knobs.assign-iou 0.4" if case.schedule is None else "leave --knobs.assign-iou out (0.25 to 0.55)"
        why = f"the priors of {prior} overlap the median object by {float(best.median()):.2f}"
    yield measured(
        "few_positives",
        fraction,
        f"{fraction:.0%} of the objects have no location whose prior overlaps them by {wanted:.2f}, the lowest "
        f"IoU for a positive in the run, so that one location alone learns each of them: {why}",
        change,
    )


def lowest_iou(case: Case) -> float:
    """Returns the smallest IoU for a positive that the run had, or will have."""
    if case.schedule is not None and "assign_iou" in case.schedule.moves_of(case.knobs):
        return min(value for _, value in case.schedule.moves_of(case.knobs)["assign_iou"])
    if case.history:
        return min(played.knobs.get("assign_iou") for played in case.history)
    return case.knobs.get("assign_iou")
