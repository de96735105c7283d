"""The matches of torchvision's matchers, as the lists and boxes that a dense loss reads.

The one place where a location's match, a proposal's sample, a label and a crowd region are translated, whichever of
torchvision's detectors they come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.dense.entries import OwnClassLoss
from mapopt.detectors.dense.geometry import Assignment, in_crowd
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.errors import ConfigError

Examples = list[dict[str, Tensor]]
"""The objects of each image, as torchvision's models take them."""

IGNORED = -2
"""The match that torchvision's matchers give a location that is neither positive nor negative."""

_PER_OBJECT = ("boxes", "labels", "masks", "keypoints", "area", "iscrowd")
_CROWDS = "crowd_boxes"
"""Where an example has its crowd regions, so that no matcher takes them for objects."""


class ListLosses:
    """Translates the matches of torchvision's matchers into the lists and boxes that a dense loss reads.

    Args:
        loss: what computes the losses.
        background: whether class 0 of the labels is the background, and has a column of the logits.
        class_weight: factor of the class loss where there are no knobs.

    Attributes:
        background: whether class 0 of the labels is the background, and has a column of the logits.
        own_box: whether the model's own box loss stays.
        weights: values of knobs where there are no others.
        knobs: values for the loss, ``[1]`` each; None takes the weights and leaves the loss as it is.
        processes: which share the batch, see `mapopt.detectors.together`.
    """

    def __init__(self, loss: DenseLoss, *, background: bool, class_weight: float = 1.0) -> None:
        self._loss, self.background, self.own_box = loss, background, loss.own_box
        self.weights = {"class_weight": class_weight, "box_weight": 1.0, "surrogate_weight": 1.0}
        self.knobs: KnobTable | None = None
        self.processes = ALONE

    @property
    def needs_own(self) -> bool:
        """Whether the model's own class loss is a part of the loss now."""
        return self._loss.partner is None and self._loss.blends(self._table(torch.device("cpu")))

    def _table(self, device: torch.device) -> KnobTable:
        given = {name: torch.full((1,), value, device=device) for name, value in self.weights.items()}
        return self.knobs or given

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        matched: Tensor,
        places: Tensor,
        examples: Examples,
        *,
        own: OwnClassLoss | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns the class loss and the box loss, scalars.

        Args:
            logits: ``[batch, n, classes]``, as the model makes them.
            boxes: ``[batch, n, 4]`` predicted.
            matched: ``[batch, n]`` positions among the examples of an image, or -1 (background), or -2 (ignored).
            places: ``[batch, n, 4]`` anchors or proposals.
            examples: the objects of each image.
            own: what the logits were made of, and the model's own class loss where it is needed.
        """
        targets = self._targets(examples, boxes)
        ignored = (matched == IGNORED) | (_in_crowds(places, examples) & (matched < 0))
        assignment = Assignment(matched.clamp(min=-1)[None], ignored[None])
        odds = log_odds(logits) if self.background else logits
        terms = self._loss.evaluate(odds[None], boxes[None], assignment, targets, self._table(logits.device), own=own)
        return terms["class"][0], terms["box"][0]

    def check(self, examples: Examples, columns: int) -> None:
        """Checks that labels are numbers of categories.

        Raises:
            ConfigError: one is not.
        """
        labels = torch.cat([example["labels"] for example in examples])
        if not len(labels):
            return
        low, high = torch.stack(labels.aminmax()).tolist()
        if low < int(self.background) or high >= columns:
            raise ConfigError(
                f"targets have labels from {low} to {high}; expected {int(self.background)} to {columns - 1}"
                f"{', 0 being the background' if self.background else ''}: number the categories so, or build the "
                f"model with more than num_classes={columns}"
            )

    def _targets(self, examples: Examples, boxes: Tensor) -> Targets:
        """Returns the objects of all images, padded to at least one per image."""
        # An image more, with one object, is dropped again.
        rows = pad_rows([*(example["boxes"].to(boxes.dtype) for example in examples), boxes.new_zeros((1, 4))])[:-1]
        labels = [example["labels"] - int(self.background) for example in examples]
        columns = pad_rows([*labels, labels[0].new_zeros(1)], -1)[:-1]
        return Targets(rows[None], columns[None], torch.zeros_like(columns, dtype=torch.bool)[None])


def log_odds(logits: Tensor) -> Tensor:
    """Returns the logit of each class's softmax probability, without the background's.

    Its sigmoid is the probability that a softmax reports. Exact for probabilities next to 0 and next to 1.

    Args:
        logits: ``[..., 1 + classes]``, the background first.

    Returns:
        ``[..., classes]``

    >>> logits = torch.tensor([1.0, 2.0, -3.0])
    >>> torch.allclose(log_odds(logits).sigmoid(), logits.softmax(-1)[1:])
    True
    """
    total = logits.logsumexp(-1, keepdim=True)
    top = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argmax(-1, keepdim=True), True)
    # The largest probability may round to 1, and what it leaves to the others to 0: those are added up by themselves.
    others_of_top = logits.masked_fill(top, -torch.inf).logsumexp(-1, keepdim=True)
    log_probability = torch.where(top, -1.0, logits - total)
    others = torch.where(top, others_of_top, total + torch.log1p(-log_probability.exp()))
    return (logits - others)[..., 1:]


def part_crowds(example: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns an example whose objects are objects, and whose crowd regions are elsewhere.

    Raises:
        ConfigError: there is not one label or one flag per box.
    """
    boxes, labels, crowd = example["boxes"], example.get("labels"), example.get("iscrowd")
    if labels is None or labels.shape != boxes.shape[:1] or labels.dtype != torch.int64:
        given = "none" if labels is None else f"{labels.dtype} of shape {list(labels.shape)}"
        raise ConfigError(f"a target has {len(boxes)} boxes and labels {given}; expected torch.int64 [{len(boxes)}]")
    if crowd is None:
        return {**example, _CROWDS: boxes[:0]}
    if crowd.shape != boxes.shape[:1]:
        raise ConfigError(
            f"a target has {len(boxes)} boxes and iscrowd of shape {list(crowd.shape)}; expected [{len(boxes)}], or "
            "leave it out"
        )
    region = crowd.to(boxes.device, torch.bool)
    objects = {name: value[~region] for name, value in example.items() if name in _PER_OBJECT}
    return {**example, **objects, _CROWDS: boxes[region]}


def join_examples(processes: Processes, examples: Examples) -> Examples:
    """Returns the objects of the images of all processes, one process after the other."""
    if not processes.several:
        return examples
    columns = {name: processes.join_lists([example[name] for example in examples]) for name in examples[0]}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def pad_rows(rows: Sequence[Tensor], value: float = 0) -> Tensor:
    """Returns rows ``[n, ...]`` of different lengths as ``[rows, longest n, ...]``."""
    return pad_sequence(list(rows), batch_first=True, padding_value=value)


def _in_crowds(places: Tensor, examples: Examples) -> Tensor:
    """Returns which of the places ``[batch, n, 4]`` have their centers in a crowd region."""
    if any(_CROWDS not in example for example in examples):
        raise ConfigError(
            "the model has another transform than when its class loss was replaced: call replace_class_loss again, on "
            "the finished model"
        )
    regions = [example[_CROWDS].to(places.dtype) for example in examples]
    real = pad_rows([region.new_ones(len(region), dtype=torch.bool) for region in regions])
    centers = (places[..., :2] + places[..., 2:]) / 2
    return in_crowd(centers[None], pad_rows(regions)[None], real[None])[0]
