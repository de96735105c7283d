"""torchvision's own detectors with a loss of ours, in anybody's training script: one call to begin, one to undo it.

torchvision decides what a location is and which object it answers for; the loss sees the logits as lists. A model
keeps its class, its parameters and its keys: some methods are covered, in the instance, by `mapopt.detectors.covers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.ssd import SSD

from mapopt.bounds import WEIGHT
from mapopt.detectors.assignments import DEFAULT_ASSIGNMENT
from mapopt.detectors.covers import BoxHeadCover, DenseHeadCover, HeadCover, TransformCover, covers_of
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.list_losses import ListLosses
from mapopt.detectors.objective import NO_REWARD, OWN_LOSS, Balance, Objective, Scope
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
    _check_weight("class_weight", class_weight, WEIGHT)
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


def weigh_class_loss(
    model: Model, *, surrogate_weight: float | None = None, class_weight: float | None = None
) -> Model:
    """Changes weights of the class loss of a model that `replace_class_loss` was called on, between two steps.

    A ranking loss is faded in from the model's own class loss by `Objective(loss=..., blend_with="torchvision")` and a
    `surrogate_weight` that rises from 0.

    Args:
        model: whose weights to change.
        surrogate_weight: fraction of a ranking loss, 0 to 1; the rest is what the objective blends it with. 1 at first.
        class_weight: factor of the class loss.

    Returns:
        the model itself.

    Raises:
        ConfigError: a weight is out of its range, or the model has its own class loss.
    """
    heads = [cover for cover in covers_of(model) if isinstance(cover, HeadCover)]
    if not heads:
        raise ConfigError(
            f"weigh_class_loss got a model {_describe(model)} with its own class loss: call replace_class_loss first"
        )
    for name, value, high in (("surrogate_weight", surrogate_weight, 1.0), ("class_weight", class_weight, WEIGHT)):
        if value is not None:
            _check_weight(name, value, high)
            for head in heads:
                head.losses.weights[name] = float(value)
    return model


def _check_weight(name: str, value: float, high: float) -> None:
    if not 0 <= value <= high:
        raise ConfigError(f"{name} is {value}: expected a number from 0 to {high:.0f}")


def restore_class_loss(model: Model) -> Model:
    """Gives a model its own losses back; of a model that has them, nothing changes.

    Returns:
        the model itself.
    """
    for cover in covers_of(model):
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
            f"leave assignment at '{DEFAULT_ASSIGNMENT}', or use a dense detector of ours: tiny, nano, resnet18 or "
            "resnet50"
        )
    restore_class_loss(model)
    losses = ListLosses(loss, background=isinstance(model, SSD | FasterRCNN), class_weight=class_weight)
    TransformCover(model.transform).install()
    if isinstance(model, FasterRCNN):
        BoxHeadCover(model.roi_heads, losses).install()
    else:
        place = model if isinstance(model, SSD) else model.head
        DenseHeadCover(place, losses, model.box_coder, centerness=isinstance(model, FCOS)).install()
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
    if loss.reward != NO_REWARD:
        raise ConfigError(
            f"replace_class_loss got an Objective with reward '{loss.reward}': expected reward '{NO_REWARD}', because "
            "rankings are drawn for the detectors tiny, nano, resnet18 and resnet50 alone"
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


def _describe(thing: object) -> str:
    return f"class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"
