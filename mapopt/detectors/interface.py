"""The interface of every detector: many lanes of weights in one matrix, a loss per lane, boxes per lane.

All trained numbers of a detector are rows of one ``[lanes, n]`` matrix, so optimizers, averages, snapshots and copies
from lane to lane are written once, as arithmetic on rows. A detector that cannot run several lanes at once has one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.errors import ConfigError
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.suppression import suppress

KnobTable = dict[str, Tensor]
"""Each knob's name and its values ``[lanes]``."""


@dataclass(frozen=True)
class Targets:
    """The objects in a batch, in network pixels."""

    boxes: Tensor
    """``[lanes, batch, g, 4]`` xyxy."""
    labels: Tensor
    """``[lanes, batch, g]`` positions of categories; -1 pads."""
    crowd: Tensor
    """``[lanes, batch, g]`` bool: a region that is neither object nor background."""
    counted: Tensor | None = None
    """``[lanes, batch]`` bool: False for images that only fill up a lane's batch, after those that count. They have no
    objects and are no background. None counts all."""


CONSTANT = "constant."
"""Begins the names, among `Detector.buffers`, of what a network computes with and never trains."""


class Detector(Protocol):
    """A detector with `lanes` independent sets of weights.

    One of your own inherits from this class and writes `initialize`, `losses` and `candidates`; the others have a
    default. It is built by a `mapopt.detectors.DetectorBuilder`, which its class is if its constructor takes a
    `mapopt.detectors.DetectorRequest`. An ``nn.Module`` with torchvision's calling convention needs none of this: see
    `mapopt.detectors.ModuleDetector`.

    Knobs of its own: a class attribute ``knobs``, name -> `mapopt.training.Range`, with the default in an attribute of
    that name. They then stand in every `KnobTable` that its methods get.
    """

    lanes: int
    classes: int
    weights: Tensor
    """``[lanes, n]``: every trained number, a leaf that requires a gradient. While `detect` is called, it may hold the
    rows of some lanes alone, those that the images are for."""
    decay: Tensor
    """float ``[n]``: 1 where weight decay applies, 0 on norms and biases."""
    components: dict[str, Tensor] | None = None
    """Where this is a dictionary, `losses` puts the components of its losses there, such as ``rank`` and ``sort``: name
    -> ``[lanes]``, without gradient and without the weights that knobs give them. They change no loss."""
    processes: Processes = ALONE
    """Where several processes share a step, `losses` gets the images of one of them. Losses that are a mean over images
    need nothing else; those that count or rank a batch join it with the others' there, as `join_batch` does."""

    def initialize(self, lane: int, seed: int) -> None:
        """Draws the weights of one lane from a seed, or loads the pretrained ones that were asked for."""

    def losses(self, images: Tensor, targets: Targets, knobs: KnobTable, *, seed: int) -> dict[str, Tensor]:
        """Returns ``{"class": [lanes], "box": [lanes]}``, weighted by their knobs; what is minimized is the sum.

        There may be further terms. They are minimized, too, and not logged by themselves.

        Args:
            images: float ``[lanes, batch, 3, h, w]`` of 0 to 255.
            targets: the objects.
            knobs: values per lane.
            seed: for detectors that sample inside their loss.
        """

    def candidates(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes before suppression and before the limit per image, of which `detect` chooses.

        They stand by lane, image and class, then falling score; of our knobs only ``score_threshold`` is read. Touches
        no random stream, mode or statistic of the training.
        """

    @torch.no_grad()
    def detect(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes after post-processing. Touches no random stream, mode or statistic of the training."""
        return suppress(
            self.candidates(images, knobs),
            knobs["score_threshold"],
            knobs["nms_iou"],
            soft_nms_sigma=knobs["soft_nms_sigma"],
            detections=knobs["detections"],
            side=max(images.shape[-2:]),
        )

    def gradient(self) -> Tensor:
        """Returns ``[lanes, n]``: the gradient the last backward pass left, which clipping scales in place."""
        return torch.zeros_like(self.weights) if self.weights.grad is None else self.weights.grad

    def clear_gradient(self) -> None:
        """Forgets the gradient."""
        self.weights.grad = None

    def weigh_classes(self, lane: int, weights: Tensor) -> None:
        """Sets the factors ``[classes]`` of a pointwise class loss's terms or of a ranking loss's lists, of one lane.

        Raises:
            ConfigError: the class loss takes none.
        """
        raise ConfigError(
            f"class weights for the losses of {type(self).__name__}, which takes none: leave class_balance at 'none', "
            "or use 'sampling' or 'repeat-factor'"
        )

    def count_classes(self, lane: int, counts: Tensor) -> None:
        """Says how many objects of each class ``[classes]`` one lane has to train on, for losses that read it."""

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the named parts that a row of the weights is cut into, in order."""
        return {"weights": tuple(self.weights.shape[1:])}

    def classes_of(self, part: str) -> list[int]:
        """Returns the class of every row of a part that grows with the classes, -1 for rows that all classes share.

        Where a detector cannot say, and this is the default, such a part starts afresh on other classes.
        """
        return []

    @property
    def min_lanes(self) -> int:
        """How many lanes have to run at once on a CPU for each to have the bits that it has among any others.

        A detector that computes every lane by itself says 1; where one lane alone takes another kernel, it is 2.
        """
        return 2

    def buffers(self) -> dict[str, Tensor]:
        """Returns state that is not trained, such as running statistics, by name and each ``[lanes, ...]``."""
        return {}


@contextmanager
def keeping_components(detector: Detector, *, wanted: bool = True) -> Iterator[dict[str, Tensor]]:
    """Gives the components of the losses that a detector computes inside; none where they are not wanted or unknown."""
    kept: dict[str, Tensor] = {}
    detector.components = kept if wanted else None
    try:
        yield kept
    finally:
        detector.components = None


@contextmanager
def sharing(detector: Detector, processes: Processes) -> Iterator[None]:
    """Lets the losses of a detector be those of the batches of several processes together."""
    detector.processes = processes
    try:
        yield
    finally:
        detector.processes = ALONE


def join_batch(processes: Processes, logits: Tensor, boxes: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Targets]:
    """Joins what a loss reads of the images of several processes; gradients go back to each one's own.

    Args:
        processes: that share a step.
        logits: ``[lanes, batch, ...]``.
        boxes: ``[lanes, batch, ...]`` predicted.
        targets: the objects.
    """
    if not processes.several:
        return logits, boxes, targets
    parts = (logits, boxes, targets.boxes, targets.labels, targets.crowd)
    columns = [processes.join(part, dim=1) for part in parts]
    counted = None
    if targets.counted is not None:
        counted = processes.join(targets.counted, dim=1)
        # Those that count stand first, as in a batch of a single process.
        order = (~counted).to(torch.uint8).argsort(dim=1, stable=True)
        lanes = torch.arange(len(order), device=order.device)[:, None]
        columns, counted = [column[lanes, order] for column in columns], counted[lanes, order]
    return columns[0], columns[1], Targets(columns[2], columns[3], columns[4], counted)


_MEAN = (123.675, 116.28, 103.53)
_STANDARD_DEVIATION = (58.395, 57.12, 57.375)


def normalize(images: Tensor) -> Tensor:
    """Maps ``[..., 3, h, w]`` of 0 to 255 to about zero mean and unit variance, with ImageNet's statistics."""
    scale, shift = scaling().to(images.device)[:, :, None, None]
    return torch.addcmul(shift, images, scale)


def scaling() -> Tensor:
    """Returns by what `normalize` multiplies the channels, and what it then adds, ``[2, 3]``."""
    scale = 1 / torch.tensor(_STANDARD_DEVIATION)
    return torch.stack([scale, -torch.tensor(_MEAN) * scale])


def prior_logit(probability: float = 0.01) -> float:
    """Returns the bias with which a fresh detector calls everything background.

    Reference: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 3.3.
    """
    return -math.log((1 - probability) / probability)
