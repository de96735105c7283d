"""What stands, in a torchvision model, before the methods that compute its losses, so that losses of ours do.

A model keeps its class, its parameters and its keys: all that changes is that some of its methods are covered, in the
instance, by objects of this module. They are copied and pickled with it, and go when they are taken away.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mapopt.detectors.dense.entries import OwnClassLoss
from mapopt.detectors.list_losses import IGNORED, Examples, ListLosses, join_examples, pad_rows, part_crowds


def covers_of(model: nn.Module) -> list[Cover]:
    """Returns everything that covers a method somewhere in a model."""
    return [value for module in model.modules() for value in vars(module).values() if isinstance(value, Cover)]


class Cover:
    """Stands, in one module, before the method of its class; copied and pickled with the module."""

    method: ClassVar[str]

    def __init__(self, module: Any) -> None:
        self.module = module
        self._before = vars(module).get(self.method)

    def own(self, *arguments: Any) -> Any:
        """Calls what is covered."""
        if self._before is not None:
            return self._before(*arguments)
        return getattr(type(self.module), self.method)(self.module, *arguments)

    def install(self) -> None:
        """Covers the method."""
        setattr(self.module, self.method, self)

    def remove(self) -> None:
        """Uncovers it."""
        delattr(self.module, self.method)
        if self._before is not None:
            setattr(self.module, self.method, self._before)


class TransformCover(Cover):
    """Takes crowd regions out of the objects, for all that follows."""

    method = "forward"

    def __call__(self, images: Any, targets: Examples | None = None) -> Any:
        """Returns images and targets, with crowd regions beside the objects."""
        images, targets = self.own(images, targets)
        return images, None if targets is None else [part_crowds(target) for target in targets]


class HeadCover(Cover):
    """Stands before what computes the losses."""

    def __init__(self, module: Any, losses: ListLosses) -> None:
        super().__init__(module)
        self.losses = losses


class DenseHeadCover(HeadCover):
    """The losses of a one-stage detector."""

    method = "compute_loss"

    def __init__(self, module: Any, losses: ListLosses, coder: Any, *, centerness: bool) -> None:
        super().__init__(module, losses)
        self._coder, self._centerness = coder, centerness

    def __call__(
        self, targets: Examples, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """Returns the losses under the model's own names."""
        outputs, losses = head_outputs["cls_logits"], self.losses
        logits, places = _widen(outputs), _widen(torch.stack(anchors))
        losses.check(targets, logits.shape[-1])
        own = {}
        if self._centerness or losses.own_box or losses.needs_own:
            # Where their class loss is thrown away it needs no gradient.
            given = head_outputs if losses.needs_own else {**head_outputs, "cls_logits": outputs.detach()}
            own = self.own(targets, given, anchors, matched_idxs)
        with torch.autocast(logits.device.type, enabled=False):
            deltas = _widen(head_outputs["bbox_regression"])
            decode = self._coder.decode if self._centerness else self._coder.decode_single
            boxes = decode(deltas.flatten(0, 1), places.flatten(0, 1)).view(places.shape)
            value = OwnClassLoss(outputs, own.get("classification") if losses.needs_own else None)
            classification, box = losses(logits, boxes, torch.stack(matched_idxs), places, targets, own=value)
        terms = {"classification": classification, "bbox_regression": box}
        if not (self._centerness or losses.own_box):
            return terms
        return _merge(own, terms, "bbox_regression", losses)


class BoxHeadCover(HeadCover):
    """The losses of Faster R-CNN's box head, on the proposals it sampled; what else it computes is left alone."""

    method = "forward"

    def __call__(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Examples | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Returns detections and losses as the heads do."""
        heads = self.module
        if not heads.training:
            return self.own(features, proposals, image_shapes, targets)
        assert targets is not None
        sampled: list[list[Tensor]] = []
        predicted: list[Tensor] = []
        select, before = heads.select_training_samples, vars(heads).get("select_training_samples")

        def record_samples(*arguments: Any) -> Any:
            sampled.extend(samples := select(*arguments))
            return samples

        def record_outputs(module: nn.Module, inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
            # Here, because torchvision's own class loss is next, and knows no better than to crash.
            self.losses.check(targets, outputs[0].shape[-1])
            predicted.extend(outputs)

        hook = heads.box_predictor.register_forward_hook(record_outputs)
        heads.select_training_samples = record_samples
        try:
            result, own = self.own(features, proposals, image_shapes, targets)
        finally:
            hook.remove()
            del heads.select_training_samples
            if before is not None:
                heads.select_training_samples = before
        logits, deltas = predicted
        places, matched, labels, _ = sampled
        # What is sampled and predicted is that of all processes, but for the places that each has looked at.
        places = self.losses.processes.join_lists(places)
        every = join_examples(self.losses.processes, targets)
        classification, box = self._terms(logits, deltas, places, matched, labels, every, own["loss_classifier"])
        return result, _merge(
            own, {"loss_classifier": classification, "loss_box_reg": box}, "loss_box_reg", self.losses
        )

    def _terms(
        self,
        logits: Tensor,
        deltas: Tensor,
        places: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        examples: Examples,
        class_loss: Tensor,
    ) -> tuple[Tensor, Tensor]:
        counts = [len(column) for column in labels]
        # Each proposal's box is the one that the head draws for the proposal's own class.
        own = deltas.view(len(deltas), -1, 4)[torch.arange(len(deltas), device=deltas.device), torch.cat(labels)]
        with torch.autocast(logits.device.type, enabled=False):
            boxes = self.module.box_coder.decode_single(_widen(own), _widen(torch.cat(places)))
            objects = [torch.where(label > 0, match, -1) for label, match in zip(labels, matched, strict=True)]
            return self.losses(
                pad_rows(_widen(logits).split(counts)),
                pad_rows(boxes.split(counts)),
                pad_rows(objects, IGNORED),
                pad_rows([_widen(boxes_of_image) for boxes_of_image in places]),
                examples,
                own=OwnClassLoss(logits, class_loss),
            )


def _merge(own: dict[str, Tensor], terms: dict[str, Tensor], box: str, losses: ListLosses) -> dict[str, Tensor]:
    """Returns the model's own losses with ours in their places, but for a box loss that stays."""
    return own | {name: value for name, value in terms.items() if not (losses.own_box and name == box)}


def _widen(values: Tensor) -> Tensor:
    """In half precision an anchor at 600 pixels is off by up to 2."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
