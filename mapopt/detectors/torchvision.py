"""torchvision's detectors behind the same face: one row of weights, knobs for their numbers, and our losses in theirs.

torchvision decides what a location is, which object it answers for and what is reported; a loss of ours sees its logits
as lists, exactly as the dense detector's does. Only one set of weights can run at a time.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torchvision.models.detection import FasterRCNN, RetinaNet

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.rows import Row, seeded
from mapopt.detectors.drop_in import cover_losses
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.torchvision_models import MODELS, build_model
from mapopt.errors import ConfigError, unknown_name
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.suppress import suppress

_CLASS_TERMS = ("classification", "loss_classifier", "loss_objectness")
_MARGIN = 0.1
"""Between RetinaNet's two thresholds, .5 and .4 in its paper, locations are ignored."""


class TorchvisionDetector:
    """One of torchvision's detectors, with one lane.

    With a loss of ours, the class loss and the box loss of RetinaNet, FCOS, SSDlite and of Faster R-CNN's box head are
    replaced; FCOS keeps its centerness loss, which counts as a box loss, and Faster R-CNN the losses of its proposal
    network. Of detectors that score with a softmax the ranked logits are the log-odds, so that what is ranked is
    what is reported. Crowd regions are ignored; with torchvision's own losses they are background, as in its training
    scripts. The knob ``assign_iou`` sets the matcher of the anchors, of Faster R-CNN the box head's; FCOS has none.

    Args:
        name: key of `mapopt.detectors.torchvision_models.MODELS`.
        objective: the losses; of ours those that it names, or torchvision's own.
        classes: number of categories.
        weights: name of pretrained weights, such as ``"DEFAULT"``; their batch norms are frozen.
        device: where to run.
        autocast: run the network in bfloat16 (CUDA); boxes, anchors and losses stay in float32.

    Raises:
        ConfigError: a name is unknown, a loss has no use for a setting, or weights cannot be had.
    """

    lanes = 1

    def __init__(
        self,
        name: str,
        objective: Objective,
        *,
        classes: int,
        weights: str | None = None,
        device: torch.device | str = "cpu",
        autocast: bool = False,
    ) -> None:
        if name not in MODELS:
            raise ConfigError(unknown_name("torchvision detector", name, MODELS))
        self.name, self.classes, self.device = name, classes, torch.device(device)
        self._pretrained, self._autocast = weights, autocast
        self._background = int(MODELS[name].background)
        self.loss = None if objective.is_detectors_own else DenseLoss(objective)
        model = build_model(name, classes, weights=weights, seed=0)
        self._row = Row(model)
        self.decay = self._row.decay_mask().to(self.device)
        self.weights = self._row.join(model)[None].to(self.device).requires_grad_()
        self.model: Any = model.to(self.device)
        self._replaced = cover_losses(model, self.loss) if self.loss else None
        if self.loss:
            self.loss.prepare(lanes=self.lanes, classes=classes, device=self.device)
        self._reporting = self.model.roi_heads if isinstance(model, FasterRCNN) else self.model

    def initialize(self, lane: int, seed: int) -> None:
        """Draws the weights and resets the running statistics."""
        fresh = build_model(self.name, self.classes, weights=self._pretrained, seed=seed)
        buffers = self.buffers()
        with torch.no_grad():
            self.weights[lane] = self._row.join(fresh).to(self.device)
            for name, value in fresh.named_buffers():
                buffers[name][lane] = value
            if self.loss:
                self.loss.forget(lane)

    def losses(self, images: Tensor, targets: Targets, knobs: KnobTable, *, seed: int) -> dict[str, Tensor]:
        """Returns the weighted losses; see `Detector.losses`.

        Raises:
            ConfigError: the batch is too small for a batch norm.
        """
        self._set_knobs(knobs)
        examples = _examples(targets, self._background, crowds=self._replaced is not None)
        if self._replaced:
            # The weights of the terms come later, for all terms alike.
            one = torch.ones(1, device=self.device)
            self._replaced.knobs = {**knobs, "class_weight": one, "box_weight": one}
        try:
            with seeded(seed, self.device):
                terms = self._run(images, examples)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"{self.name} normalises over the batch, and {images.shape[1]} image of {images.shape[-2]}x"
                f"{images.shape[-1]} pixels leaves it a single value: use a batch size of 2 or more, "
                "a larger batch_fraction, or larger images"
            ) from error
        zero = torch.zeros(1, device=self.device)
        by_kind = {"class": zero, "box": zero}
        for name, value in terms.items():
            kind = "class" if name in _CLASS_TERMS else "box"
            by_kind[kind] = by_kind[kind] + value.float()
        return {kind: knobs[f"{kind}_weight"] * value for kind, value in by_kind.items()}

    def gradient(self) -> Tensor:
        """Returns the gradient ``[1, n]`` of the last backward pass."""
        return torch.zeros_like(self.weights) if self.weights.grad is None else self.weights.grad

    def clear_gradient(self) -> None:
        """Forgets the gradient."""
        self.weights.grad = None

    @torch.no_grad()
    def detect(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes after torchvision's own post-processing; see `Detector.detect`.

        With Soft-NMS, what torchvision would suppress among goes through ours.
        """
        if float(knobs["soft_nms_sigma"][0]) <= 0:
            return self._report(
                images, knobs, nms_iou=float(knobs["nms_iou"][0]), max_detections=_rounded(knobs["detections"])
            )
        return suppress(
            self.candidates(images, knobs),
            knobs["score_threshold"],
            knobs["nms_iou"],
            soft_nms_sigma=knobs["soft_nms_sigma"],
            detections=knobs["detections"],
            side=max(images.shape[-2:]),
        )

    @torch.no_grad()
    def candidates(self, images: Tensor, knobs: KnobTable) -> Boxes:
        """Returns the boxes before suppression; see `Detector.candidates`."""
        # No two boxes overlap by more than 1.
        found = self._report(images, knobs, nms_iou=1.0, max_detections=sys.maxsize)
        order = (found.images * self.classes + found.labels).argsort(stable=True)
        return Boxes(*(getattr(found, name)[order] for name in Boxes.__dataclass_fields__))

    def _report(self, images: Tensor, knobs: KnobTable, *, nms_iou: float, max_detections: int) -> Boxes:
        self._set_knobs(knobs)
        self._reporting.nms_thresh, self._reporting.detections_per_img = nms_iou, max_detections
        self.model.eval()
        try:
            found = self._run(images)
        finally:
            self.model.train()
        counts = torch.tensor([len(one["scores"]) for one in found], device=self.device)
        index = torch.arange(len(found), device=self.device).repeat_interleave(counts)
        boxes, scores, labels = (torch.cat([one[key] for one in found]) for key in ("boxes", "scores", "labels"))
        return Boxes(boxes, scores, labels - self._background, torch.zeros_like(index), index)

    def buffers(self) -> dict[str, Tensor]:
        """Returns the running statistics of batch norms, or the constants of frozen ones, and what the loss remembers.

        Each is ``[1, ...]``.
        """
        remembered = self.loss.buffers() if self.loss else {}
        return {name: value[None] for name, value in self.model.named_buffers()} | remembered

    def weigh_classes(self, lane: int, weights: Tensor) -> None:
        """Sets the factors ``[classes]`` of a pointwise class loss's terms, of one lane.

        Raises:
            ConfigError: the loss is torchvision's.
        """
        if self.loss is None:
            raise ConfigError(f"class weights for the loss '{OWN_LOSS}', which takes none: name a loss, such as focal")
        self.loss.weigh_classes(lane, weights.to(self.device), lanes=self.lanes)

    def _run(self, images: Tensor, examples: list[dict[str, Tensor]] | None = None) -> Any:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            return functional_call(self.model, self._row.split(self.weights[0]), (images[0], examples))

    def _set_knobs(self, knobs: KnobTable) -> None:
        self._reporting.score_thresh = float(knobs["score_threshold"][0])
        matcher = getattr(self._reporting, "proposal_matcher", None)
        if matcher is not None:
            # Only RetinaNet's two thresholds differ.
            margin = _MARGIN if isinstance(self.model, RetinaNet) else 0.0
            matcher.high_threshold = float(knobs["assign_iou"][0])
            matcher.low_threshold = max(0.0, matcher.high_threshold - margin)


def _rounded(knob: Tensor) -> int:
    return int(knob[0].round())


def _examples(targets: Targets, background: int, *, crowds: bool) -> list[dict[str, Tensor]]:
    """Returns the objects of each image as torchvision wants them, without area or padding; crowd regions if asked."""
    sides = targets.boxes[0, ..., 2:] - targets.boxes[0, ..., :2]
    crowd = targets.crowd[0]
    keep = (targets.labels[0] >= 0) & torch.where(crowd, torch.tensor(crowds, device=crowd.device), (sides > 0).all(-1))
    columns = {"boxes": targets.boxes[0], "labels": targets.labels[0] + background, "iscrowd": crowd}
    return [{name: value[image][one] for name, value in columns.items()} for image, one in enumerate(keep)]
