"""The logits of a step, entry by entry, with everything that losses may know of each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mapopt.detectors.dense.facts import Facts
from mapopt.detectors.interface import KnobTable


@dataclass(frozen=True)
class Entries:
    """The logits of a step and what is known of each; tensors are ``[lanes, batch, locations, classes]``."""

    logits: Tensor
    labels: Tensor
    """0, or of positives the IoU of the predicted box where somebody reads it, else 1."""
    where: Tensor
    facts: Facts
    knobs: KnobTable
    counted: Tensor | None
    """``[lanes, batch]``, the images that count."""

    def labels_for(self, *, soft: bool) -> Tensor:
        """Returns the labels with or without the positives' values."""
        return self.labels if soft else (self.labels > 0).to(self.labels.dtype)


@dataclass(frozen=True)
class OwnClassLoss:
    """The class outputs of a detector with a class loss of its own, of one lane."""

    outputs: Tensor
    """What the logits are made of, in any shape: where the gradient of the class loss is measured."""
    value: Tensor | None = None
    """The class loss that the detector makes of them, a scalar; None where nobody asks for it."""
