"""torchvision's own detectors with a loss of ours, in anybody's training script: one call to begin, one to undo it.

torchvision decides what a location is and which object it answers for; the loss sees the logits as lists. A model
keeps its class, its parameters and its keys: all that changes is that some of its methods are covered, in the
instance, by objects of this module. They are copied and pickled with it, and go when they are taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from mapopt.bounds import WEIGHT
from mapopt.detectors.assignments import DEFAULT_ASSIGNMENT
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.list_losses import IGNORED, Examples, ListLosses, pad_rows, part_crowds
from mapopt.detectors.objective import OWN_LOSS, Balance, Objective, Scope
from mapopt.errors import ConfigError
from mapopt.losses import ListLoss, make_loss

Model = TypeVar("Model", bound=nn.Module)

FAMILIES = (RetinaNet, FCOS, SSD, FasterRCNN)
"""The detectors of torchvision whose losses can be replaced."""


def replace_class_loss(
    model: Model,
    loss: ListLoss | str | Objective | Callable[..., Tensor],
    *,
    scope: Scope | None = None,
    box_loss: str = "giou",
    balance: Balance = "none",
    soft_labels: bool | None = None,
    class_counts: Sequence[int] | None = None,
    class_weight: float | None = None,
) -> Model:
    """Makes a torchvision detector train with a loss of ours; it is called, moved, copied and saved as before.

    In training mode ``model(images, targets)`` returns the losses under their own names. ``classification``
    (RetinaNet, FCOS, SSD) or ``loss_classifier`` (Faster R-CNN, also with masks or keypoints) is then the given loss on
    the logits of the batch, and ``bbox_regression`` or ``loss_box_reg`` the box loss. Everything else stays: FCOS's
    centerness, the proposal network, masks, keypoints, detection, and the keys of the state. Of detectors that score
    with a softmax the ranked logits are the log-odds, so that what is ranked is what is reported. A positive is
    labelled 1, or, for losses that read values, with the IoU of its predicted box.

    Targets may have ``"iscrowd"``, one per box: such a box is a region where nothing is counted as background, not an
    object. (torchvision's own losses take it for an object.) Call this before wrapping the model for several processes.

    Args:
        model: RetinaNet, FCOS, SSD, SSDlite, or Faster, Mask or Keypoint R-CNN of torchvision, however built.
        loss: what replaces the class loss: a loss, a name in `mapopt.losses.LOSSES`, or a function of your own, see
            `mapopt.losses.make_loss`. Its attributes are read at every step, so they can be turned while the model
            trains. A copy of the model has a copy of the loss. An `Objective` is everything that follows at once.
        scope: what is ranked as one list, "class", "image" or "batch"; None takes "class" for ranking losses, which
            makes them surrogates of mAP, and "batch" for pointwise ones.
        box_loss: name in `mapopt.losses.BOX_LOSSES`, or ``"torchvision"`` for the model's own, unchanged.
        balance: how the box loss is scaled to the class loss at every step: "none"; "gradients", by their gradients at
            the model's outputs; or "values", as Rank & Sort proposes. See `Objective`.
        soft_labels: give the loss how well predicted boxes fit, see `Objective`; None does so for losses that read it.
        class_counts: how many objects of every label there are to train on, from label 0, which may be the background
            or unused and then has 0; for losses that read how frequent the classes are, such as ``"ecm"``.
        class_weight: factor of the class loss; None takes the one that the loss starts from, `ListLoss.start_weight`,
            or 1 where the box loss is balanced.

    Returns:
        the model itself.

    Raises:
        ConfigError: the model is none of these, what is given is no loss, or settings contradict each other; and, when
            the model is trained, labels are no numbers of categories.

    Reference: K. Oksuz et al., "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021, section 4.

    >>> from torchvision.models.detection import retinanet_resnet50_fpn
    >>> from mapopt.losses import RankSortLoss
    >>> model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    >>> model = replace_class_loss(model, RankSortLoss(delta=0.5))
    >>> model = restore_class_loss(model)
    """
    settings = {"scope": scope, "box_loss": box_loss, "balance": balance, "soft_labels": soft_labels}
    dense = _dense_loss(loss, settings)
    if class_weight is None:
        class_weight = dense.ranking.start_weight() if dense.balance == "none" else 1.0
    if not 0 <= class_weight <= WEIGHT:
        raise ConfigError(f"class_weight is {class_weight}: expected a number from 0 to {WEIGHT:.0f}")
    if ("frequencies" in dense.facts.reads) != (class_counts is not None):
        name = type(dense.ranking).__name__
        raise ConfigError(
            f"class_counts were given with {name}, which does not read how frequent the classes are: leave them out"
            if class_counts is not None
            else f"{name} reads how frequent the classes are: give class_counts, the objects of every label from 0"
        )
    losses = cover_losses(model, dense, class_weight=class_weight)
    if class_counts is not None:
        dense.count_classes(0, torch.tensor(class_counts)[int(losses.background) :], lanes=1)
    return model


def restore_class_loss(model: Model) -> Model:
    """Gives a model its own losses back; of a model that has them, nothing changes.

    Returns:
        the model itself.
    """
    for module in model.modules():
        for cover in [value for value in vars(module).values() if isinstance(value, _Cover)]:
            cover.remove()
    return model


def cover_losses(model: nn.Module, loss: DenseLoss, *, class_weight: float = 1.0) -> ListLosses:
    """Puts losses of ours where a torchvision detector computes its own, instead of what was put there before.

    Args:
        model: one of torchvision's detectors.
        loss: what computes the losses.
        class_weight: factor of the class loss, where no knobs say so.

    Raises:
        ConfigError: the model is not one of torchvision's detectors, or an assignment of ours is asked for.
    """
    if not isinstance(model, FAMILIES):
        inside = getattr(model, "module", None)
        raise ConfigError(
            f"replace_class_loss got a model {_describe(model)}; expected RetinaNet, FCOS, SSD or Faster R-CNN of "
            "torchvision.models.detection: "
            + (
                "replace the loss of the model inside it (.module), before it is wrapped"
                if isinstance(inside, FAMILIES)
                else "with another detector, call the loss on its logits and labels"
            )
        )
    if loss.assignment != DEFAULT_ASSIGNMENT:
        raise ConfigError(
            f"assignment '{loss.assignment}' with a {type(model).__name__}, whose own matcher assigns its locations: "
            f"leave assignment at '{DEFAULT_ASSIGNMENT}', or use a dense detector of ours, such as tiny or resnet18"
        )
    restore_class_loss(model)
    losses = ListLosses(loss, background=isinstance(model, SSD | FasterRCNN), class_weight=class_weight)
    _Transform(model.transform).install()
    if isinstance(model, FasterRCNN):
        _BoxHead(model.roi_heads, losses).install()
    else:
        place = model if isinstance(model, SSD) else model.head
        _DenseHead(place, losses, model.box_coder, centerness=isinstance(model, FCOS)).install()
    return losses


def _dense_loss(loss: Any, settings: dict[str, Any]) -> DenseLoss:
    """Returns the losses that `replace_class_loss` was asked for."""
    if not isinstance(loss, Objective):
        made = make_loss(loss)
        if made.remembers and made is not loss:
            name = type(made).__name__
            raise ConfigError(
                f"replace_class_loss got {name} by name or class, but it remembers what it has seen: give an object, "
                f"{name}(), and save its state_dict() beside the model's"
            )
        if settings["balance"] in (None, "former"):
            settings["balance"] = "values" if made.error_rate and settings["box_loss"] != OWN_LOSS else "none"
        return DenseLoss(Objective(**settings), loss=made)
    given = [name for name, value in settings.items() if value != _DEFAULTS[name]]
    if given:
        raise ConfigError(
            f"replace_class_loss got an Objective and {', '.join(given)} beside it: give all of them in the Objective"
        )
    dense = None if loss.is_detectors_own else DenseLoss(loss)
    if dense is None or dense.remembers:
        raise ConfigError(
            f"replace_class_loss got an Objective with loss '{loss.loss}' and memory {loss.memory}; expected a loss of "
            "mapopt.losses and no memory, which is state that the model would have to keep; a loss that remembers "
            "something by itself is given as an object"
        )
    return dense


_DEFAULTS: dict[str, Any] = {"scope": None, "box_loss": "giou", "balance": "none", "soft_labels": None}


class _Cover:
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


class _Transform(_Cover):
    """Takes crowd regions out of the objects, for all that follows."""

    method = "forward"

    def __call__(self, images: Any, targets: Examples | None = None) -> Any:
        images, targets = self.own(images, targets)
        return images, None if targets is None else [part_crowds(target) for target in targets]


class _DenseHead(_Cover):
    """The losses of a one-stage detector."""

    method = "compute_loss"

    def __init__(self, module: Any, losses: ListLosses, coder: Any, *, centerness: bool) -> None:
        super().__init__(module)
        self._losses, self._coder, self._centerness = losses, coder, centerness

    def __call__(
        self, targets: Examples, head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        logits, places = _widen(head_outputs["cls_logits"]), _widen(torch.stack(anchors))
        self._losses.check(targets, logits.shape[-1])
        with torch.autocast(logits.device.type, enabled=False):
            deltas = _widen(head_outputs["bbox_regression"])
            decode = self._coder.decode if self._centerness else self._coder.decode_single
            boxes = decode(deltas.flatten(0, 1), places.flatten(0, 1)).view(places.shape)
            classification, box = self._losses(logits, boxes, torch.stack(matched_idxs), places, targets)
        terms = {"classification": classification, "bbox_regression": box}
        if not (self._centerness or self._losses.own_box):
            return terms
        # Their class loss is thrown away, so it needs no gradient.
        outputs = {**head_outputs, "cls_logits": head_outputs["cls_logits"].detach()}
        return _merge(self.own(targets, outputs, anchors, matched_idxs), terms, "bbox_regression", self._losses)


class _BoxHead(_Cover):
    """The losses of Faster R-CNN's box head, on the proposals it sampled; what else it computes is left alone."""

    method = "forward"

    def __init__(self, module: Any, losses: ListLosses) -> None:
        super().__init__(module)
        self._losses = losses

    def __call__(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Examples | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
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
            self._losses.check(targets, outputs[0].shape[-1])
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
        classification, box = self._terms(logits, deltas, places, matched, labels, targets)
        return result, _merge(
            own, {"loss_classifier": classification, "loss_box_reg": box}, "loss_box_reg", self._losses
        )

    def _terms(
        self,
        logits: Tensor,
        deltas: Tensor,
        places: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        examples: Examples,
    ) -> tuple[Tensor, Tensor]:
        counts = [len(column) for column in labels]
        # Each proposal's box is the one that the head draws for the proposal's own class.
        own = deltas.view(len(deltas), -1, 4)[torch.arange(len(deltas), device=deltas.device), torch.cat(labels)]
        with torch.autocast(logits.device.type, enabled=False):
            boxes = self.module.box_coder.decode_single(_widen(own), _widen(torch.cat(places)))
            objects = [torch.where(label > 0, match, -1) for label, match in zip(labels, matched, strict=True)]
            return self._losses(
                pad_rows(_widen(logits).split(counts)),
                pad_rows(boxes.split(counts)),
                pad_rows(objects, IGNORED),
                pad_rows([_widen(boxes_of_image) for boxes_of_image in places]),
                examples,
            )


def _merge(own: dict[str, Tensor], terms: dict[str, Tensor], box: str, losses: ListLosses) -> dict[str, Tensor]:
    """Returns the model's own losses with ours in their places, but for a box loss that stays."""
    return own | {name: value for name, value in terms.items() if not (losses.own_box and name == box)}


def _describe(thing: object) -> str:
    return f"class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"


def _widen(values: Tensor) -> Tensor:
    """In half precision an anchor at 600 pixels is off by up to 2."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
