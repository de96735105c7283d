"""Several processes share a step of a torchvision detector: what its losses count, sample or normalize over is joined.

As losses of ours do it, some methods of the model are covered while a step's losses are computed, see
`mapopt.detectors.covers`; in between the model is as it was. With the same random numbers in every process, all of them
draw the samples of the whole batch, and its losses are the numbers of a single process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from mapopt.collectives import Processes
from mapopt.detectors.covers import Cover
from mapopt.detectors.list_losses import Examples, join_examples


def joins_losses(model: nn.Module) -> bool:
    """Says whether the losses of a model are those of the whole batch, whatever it is divided among."""
    if isinstance(model, FasterRCNN):
        return not (model.roi_heads.has_mask() or model.roi_heads.has_keypoint())
    return isinstance(model, RetinaNet | FCOS | SSD)


@contextmanager
def losses_together(model: Any, processes: Processes) -> Iterator[None]:
    """Lets a model compute the losses of the batches of several processes together; of one it changes nothing.

    Batch norms normalize over all images, whatever the model is. What else a model of somebody's own computes of its
    batch is left alone: its losses are then averaged over the processes.
    """
    covers: list[Cover] = []
    if processes.several:
        covers += [_NormTogether(module, processes) for module in model.modules() if isinstance(module, _BatchNorm)]
        if joins_losses(model):
            covers += _covers_of_losses(model, processes)
    for cover in covers:
        cover.install()
    try:
        yield
    finally:
        for cover in reversed(covers):
            cover.remove()


def _covers_of_losses(model: Any, processes: Processes) -> list[Cover]:
    if isinstance(model, FasterRCNN):
        heads = model.roi_heads
        return [
            _TransformTogether(model.transform, processes),
            _ProposalsTogether(model.rpn, processes),
            _SamplesTogether(heads, processes),
            _PredictionsTogether(heads.box_predictor, processes),
        ]
    return [_HeadTogether(model if isinstance(model, SSD) else model.head, processes)]


class _Together(Cover):
    """Covers a method that needs the images of all processes."""

    def __init__(self, module: Any, processes: Processes) -> None:
        super().__init__(module)
        self._processes = processes


class _HeadTogether(_Together):
    """The losses of a one-stage detector."""

    method = "compute_loss"

    def __call__(
        self, targets: Examples, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        joined = {name: self._processes.join(value) for name, value in head_outputs.items()}
        matched = list(self._processes.join(torch.stack(matched_idxs)))
        # All images have one size, and so the same anchors.
        every = list(anchors) * self._processes.count
        losses: dict[str, Tensor] = self.own(join_examples(self._processes, targets), joined, every, matched)
        return losses


class _TransformTogether(_Together):
    """The sizes that torchvision's own transform draws, one for each image, before anything else is drawn."""

    method = "forward"

    def __call__(self, images: Any, targets: Examples | None = None) -> Any:
        draws = isinstance(self.module, GeneralizedRCNNTransform)
        before = self._processes.index * len(images) if draws else 0
        after = self._processes.count * len(images) - before - len(images) if draws else 0
        for _ in range(before):
            self.module.torch_choice(self.module.min_size)
        result = self.own(images, targets)
        for _ in range(after):
            self.module.torch_choice(self.module.min_size)
        return result


class _ProposalsTogether(_Together):
    """The losses of a proposal network, and the samples that they are computed of."""

    method = "compute_loss"

    def __call__(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        processes = self._processes
        losses: tuple[Tensor, Tensor] = self.own(
            processes.join(objectness),
            processes.join(deltas),
            processes.join_lists(labels),
            processes.join_lists(targets),
        )
        return losses


class _SamplesTogether(_Together):
    """The proposals that a box head is trained on: drawn of all images, of which each process looks at its own."""

    method = "select_training_samples"

    def __call__(self, proposals: list[Tensor], targets: Examples) -> tuple[list[Tensor], ...]:
        places, *others = self.own(self._processes.join_lists(proposals), join_examples(self._processes, targets))
        return list(self._processes.part(places)), *others


class _PredictionsTogether(_Together):
    """What a box head says of the samples of all processes."""

    method = "forward"

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.own(features)
        return self._processes.join_rows(logits), self._processes.join_rows(deltas)


class _NormTogether(_Together):
    """A batch norm that normalizes over the images of all processes."""

    method = "forward"

    def __call__(self, values: Tensor) -> Tensor:
        norm: Any = self.module
        if not norm.training:
            fixed: Tensor = self.own(values)
            return fixed
        axes = [axis for axis in range(values.dim()) if axis != 1]
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        count = self._processes.count * values.numel() / values.shape[1]
        mean = self._processes.total(wide.sum(axes)) / count
        shape = [1, -1, *[1] * (values.dim() - 2)]
        centered = wide - mean.view(shape)
        variance = self._processes.total(centered.square().sum(axes)) / count
        if norm.track_running_stats:
            _follow(norm, mean.detach(), variance.detach() * count / max(1.0, count - 1))
        scaled = centered * torch.rsqrt(variance + norm.eps).view(shape)
        if norm.affine:
            scaled = torch.addcmul(norm.bias.view(shape), scaled, norm.weight.view(shape))
        return scaled.to(values.dtype)


@torch.no_grad()
def _follow(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Moves running statistics as torch's batch norms do."""
    norm.num_batches_tracked += 1
    moves = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    for running, value in ((norm.running_mean, mean), (norm.running_var, variance)):
        running.mul_(1 - moves).add_(value, alpha=moves)
