"""The gradient of a step, whose batch may be computed in pieces, so that a large one needs the memory of a small one.

The pieces' gradients are averaged. That is the gradient of the whole batch as far as its loss is a mean over images:
losses that count positives, or rank the whole batch, do so in every piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.interface import Detector, KnobTable, Targets, keeping_components, sharing
from mapopt.training.loss_scales import LossScales


def number_of_pieces(size: int, wanted: int) -> int:
    """Returns in how many equal pieces a batch is computed: as many as wanted, or the next number that divides it.

    >>> [number_of_pieces(12, wanted) for wanted in (1, 4, 5, 50)]
    [1, 4, 4, 12]
    """
    return next(pieces for pieces in range(min(wanted, size), 0, -1) if size % pieces == 0)


def leave_gradient(
    detector: Detector,
    batches: Iterable[tuple[Tensor, Targets]],
    knobs: KnobTable,
    *,
    seeds: Sequence[int],
    look: Callable[[Detector, Mapping[str, Tensor]], None],
    scales: LossScales | None = None,
    components: bool = False,
    processes: Processes = ALONE,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Leaves the gradient of a step in a detector.

    Args:
        detector: whose losses.
        batches: images and targets of every piece, made one after the other.
        knobs: values per lane.
        seeds: of every piece, for detectors that sample inside their loss.
        look: called with the detector and the losses of the first piece, before their sum is taken back.
        scales: what the gradient that is left is multiplied by; the losses are returned as they are.
        components: whether the losses' components are wanted, too.
        processes: that share the step, each with batches of its own. The gradient that is left is this process's.

    Returns:
        the mean of each loss ``[lanes]``, of their sum, and of their components by name, over all processes.
    """
    detector.clear_gradient()
    means: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    mean_total = torch.zeros(())
    for place, ((images, targets), seed) in enumerate(zip(batches, seeds, strict=True)):
        with keeping_components(detector, wanted=components) as kept, sharing(detector, processes):
            losses = detector.losses(images, targets, knobs, seed=seed)
        if place == 0:
            look(detector, {name: _scaled(value, scales) for name, value in losses.items()})
        total = torch.stack(list(losses.values())).sum(0)
        if len(seeds) == 1:
            _scaled(total, scales).sum().backward()
            return _over_all(processes, losses, total.detach(), kept)
        (_scaled(total, scales).sum() / len(seeds)).backward()
        for sums, values in ((means, losses), (parts, kept)):
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / len(seeds)
        mean_total = mean_total.to(total.device) + total.detach() / len(seeds)
    return _over_all(processes, means, mean_total, parts)


def _scaled(values: Tensor, scales: LossScales | None) -> Tensor:
    return values if scales is None else values * scales.factor


def _over_all(
    processes: Processes, losses: dict[str, Tensor], total: Tensor, components: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    losses, totals, components = processes.averages(losses, {"total": total}, components)
    return losses, totals["total"], components
