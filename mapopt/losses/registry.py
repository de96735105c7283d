"""Every loss by its name, and one way to make a loss of a name, of an object or of ``module:attribute``.

Names are kept as text, so that this module is imported without torch and a loss is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mapopt.losses.signature import box_loss_problem, loss_problem
from mapopt.losses.table import LOSS_TABLE, check_loss_settings
from mapopt.registry import Choice, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from mapopt.losses.base import ListLoss

    BoxLoss = Callable[[Tensor, Tensor], Tensor]


LOSSES: Registry[type[ListLoss]] = Registry(
    "loss", {name: entry.where for name, entry in LOSS_TABLE.items()}, check=loss_problem
)
"""Every loss, in the order of the documentation."""

BOX_LOSSES: Registry[BoxLoss] = Registry(
    "box loss",
    {"giou": "mapopt.losses.boxes:giou_loss", "smooth_l1": "mapopt.losses.boxes:smooth_l1_loss"},
    check=box_loss_problem,
)
"""The losses between predicted and target boxes: ``f(boxes, targets)``, one value per pair of boxes."""


def make_loss(given: Any, settings: Mapping[str, Any] | None = None) -> ListLoss:
    """Makes a loss of whatever names or is one.

    Args:
        given: key of `LOSSES`; ``module:attribute``; a class or an object of `ListLoss`, of torch's ``nn.Module`` or of
            any class whose objects are called with (scores, labels, where); or a function with these arguments, see
            `as_list_loss`.
        settings: keyword arguments that differ from its defaults: of its constructor, or of the function.

    Raises:
        ConfigError: the name is unknown, what was given is no loss, or a setting is unknown or out of range.

    >>> make_loss("ap", {"gradient": "exact"})
    APLoss(delta=1.0, interpolate=True, gradient=exact)
    """
    from mapopt.losses.callables import as_list_loss  # here, because names are checked without torch

    if isinstance(given, Choice):
        given, settings = given.name, {**given.settings, **(settings or {})}
    if isinstance(given, str) and given in LOSS_TABLE:
        check_loss_settings(given, settings)
        return LOSSES[given](**(settings or {}))
    return as_list_loss(LOSSES.find(given), settings)


def make_box_loss(given: Any, settings: Mapping[str, Any] | None = None) -> BoxLoss:
    """Makes a box loss of whatever names or is one.

    Args:
        given: key of `BOX_LOSSES`; ``module:attribute``; a function of (boxes, targets), both ``[n, 4]`` xyxy, that
            returns one value per pair of boxes, ``[n]``; or an object or a class of objects that are called so.
        settings: keyword arguments that differ from its defaults.

    Returns:
        A function of boxes and targets ``[..., 4]`` that returns ``[...]``.

    Raises:
        ConfigError: as for `make_loss`.

    >>> import torch
    >>> hinge = make_box_loss(lambda boxes, targets, slack=0.0: (boxes - targets).abs().sum(-1) - slack, {"slack": 1.0})
    >>> hinge(torch.ones(1, 2, 4), torch.zeros(1, 2, 4))
    tensor([[3., 3.]])
    """
    from mapopt.losses.callables import as_box_loss  # here, because names are checked without torch

    if isinstance(given, Choice):
        given, settings = given.name, {**given.settings, **(settings or {})}
    return as_box_loss(BOX_LOSSES.find(given), settings)
