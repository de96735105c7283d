"""Makes a loss of our family out of any function or object that is called with scores, labels and where.

A function sees one list at a time, without the entries that are ignored: it cannot mix lists, and padding cannot reach
it. A loss that is to work on all lists at once is a subclass of `ListLoss` instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from mapopt.errors import ConfigError
from mapopt.losses.base import ListLoss
from mapopt.losses.boxes import giou_loss, smooth_l1_loss
from mapopt.losses.signature import box_loss_problem, loss_problem
from mapopt.losses.sums.lists import Lists
from mapopt.registry import Registry, check_settings

_LOSSES: Registry[Any] = Registry("loss", {}, check=loss_problem)
_BOX_LOSSES: Registry[Any] = Registry("box loss", {}, check=box_loss_problem)

_DATA = (None, None, None)  # stands for scores, labels and where


def as_list_loss(given: Any, settings: Mapping[str, Any] | None = None) -> ListLoss:
    """Returns a loss of our family that computes what a function or an object computes.

    Args:
        given: a `ListLoss`, which is returned as it is, or a class of them; a function
            ``f(scores, labels, where, **settings)`` of one list ``[n]`` that returns a scalar tensor; an object that is
            called so, such as an ``nn.Module``, or a class of such objects. Where it has attributes ``pointwise``,
            ``soft_labels``, ``error_rate``, ``saturates``, ``default_class_weight`` or ``knobs``, they are the loss's;
            see `ListLoss`. A function may also declare a knob by its annotation:
            ``margin: Annotated[float, Range(0.1, 4)] = 1.0``.
        settings: keyword arguments of the class or of the function. Those of a function become attributes of the loss.

    Raises:
        ConfigError: it is no loss, a setting is unknown, or settings are given for an object.

    >>> def hinge(scores, labels, where, margin=1.0):
    ...     gaps = scores[labels == 0] - scores[labels > 0][:, None] + margin
    ...     return gaps.clamp(min=0).mean()
    >>> loss = as_list_loss(hinge, {"margin": 2.0})
    >>> loss(torch.tensor([[1.0, 0.0], [0.0, 5.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor(1.)
    >>> loss
    CallableLoss(hinge, margin=2.0)
    """
    part = _LOSSES.find(given)
    if inspect.isroutine(part):
        return CallableLoss(part, settings)
    made = _LOSSES.make(part, settings)  # of a class; refuses settings for an object
    return made if isinstance(made, ListLoss) else CallableLoss(made)


def annotated_ranges(given: Callable[..., Any]) -> dict[str, Any]:
    """Returns name -> range of the arguments whose annotations hold one, as those of `mapopt.training.Knobs` do."""
    try:
        hints = get_type_hints(given, include_extras=True)
    except (NameError, TypeError):  # a name that only a type checker sees, or no function
        return {}
    return {
        name: extra
        for name, hint in hints.items()
        for extra in getattr(hint, "__metadata__", ())
        if hasattr(extra, "low") and hasattr(extra, "high")
    }


class CallableLoss(ListLoss):
    """A loss that calls a function or an object for one list after the other; `as_list_loss` makes it.

    Args:
        given: what is called with the scores, labels and where ``[n]`` of a list; where is True everywhere, because
            entries that are ignored are left out.
        settings: keyword arguments of a function; they and its knobs are attributes, read at every call.
    """

    def __init__(self, given: Callable[..., Tensor], settings: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.given = given
        self.pointwise = bool(getattr(given, "pointwise", False))
        self.soft_labels = bool(getattr(given, "soft_labels", False))
        self.error_rate = bool(getattr(given, "error_rate", False))
        self.saturates = bool(getattr(given, "saturates", False))
        self.default_class_weight = float(getattr(given, "default_class_weight", 1.0))
        self.knobs = dict(getattr(given, "knobs", {})) or annotated_ranges(given)
        self.name = getattr(given, "__name__", type(given).__name__)
        self._keywords = inspect.isroutine(given)
        values = dict(settings or {})
        if self._keywords:
            check_settings(partial(given, *_DATA), values, f"loss '{self.name}'")
        for knob in self.knobs:
            values.setdefault(knob, self._default(knob))
        self._passed = tuple(values)
        for name, value in values.items():
            if hasattr(self, name):
                raise ConfigError(f"loss '{self.name}' has a setting '{name}', which is taken: give it another name")
            setattr(self, name, value)

    def _default(self, knob: str) -> Any:
        """Returns what a knob is before anything turns it: an argument's default, or the object's attribute."""
        if not self._keywords and hasattr(self.given, knob):
            return getattr(self.given, knob)
        parameters = inspect.signature(self.given).parameters if self._keywords else {}
        if knob not in parameters or parameters[knob].default is inspect.Parameter.empty:
            kind = "an argument with a default" if self._keywords else "an attribute"
            raise ConfigError(
                f"loss '{self.name}' declares a knob '{knob}', but has no such value: give it {kind} of that name"
            )
        return parameters[knob].default

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Calls what was given for every list with a positive."""
        columns = {
            name: self.per_list(name, lists) if isinstance(getattr(self, name), Tensor) else getattr(self, name)
            for name in self._passed
        }
        # Zeros that belong to the graph: without a list to call it for, there is still a gradient to ask for.
        total = torch.where(lists.count < 0, lists.scores.sum(-1), 0.0)
        rows = (lists.count > 0).nonzero()[:, 0]
        if len(rows):
            values = [self._call(lists, row, columns) for row in rows.tolist()]
            total = total.index_add(0, rows, torch.stack(values).to(total.dtype))
        return {"rank": total}

    def _call(self, lists: Lists, row: int, columns: Mapping[str, Any]) -> Tensor:
        kept = lists.positive[row] | lists.negative[row]
        scores, labels = lists.scores[row][kept], lists.labels[row][kept]
        values = {name: value[row, 0] if isinstance(value, Tensor) else value for name, value in columns.items()}
        if not self._keywords:
            for name, value in values.items():
                setattr(self.given, name, value)
            values = {}
        result = self.given(scores, labels, torch.ones_like(kept[kept]), **values)
        if not isinstance(result, Tensor) or result.dim() or not result.is_floating_point():
            raise ConfigError(
                f"loss '{self.name}' returned {_described(result)}; expected a scalar tensor: reduce the list, for "
                "example by .sum()"
            )
        return result

    def extra_repr(self) -> str:
        """Shows what is called and its settings."""
        shown = [] if isinstance(self.given, nn.Module) else [self.name]
        return ", ".join([*shown, *(f"{name}={getattr(self, name)}" for name in self._passed)])


def as_box_loss(given: Any, settings: Mapping[str, Any] | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a box loss that keeps leading dimensions, made of a function or an object.

    Args and errors as in `make_box_loss`.
    """
    if not inspect.isroutine(given):
        given, settings = _BOX_LOSSES.make(given, settings), None
    name = getattr(given, "__name__", type(given).__name__)
    if inspect.isroutine(given):
        check_settings(partial(given, None, None), settings or {}, f"box loss '{name}'")
        given = partial(given, **settings) if settings else given
    if getattr(given, "func", given) in (giou_loss, smooth_l1_loss):
        return given

    def box_loss(boxes: Tensor, targets: Tensor) -> Tensor:
        values = given(boxes.reshape(-1, 4), targets.reshape(-1, 4))
        number = boxes.shape[:-1].numel()
        if not isinstance(values, Tensor) or values.shape != (number,):
            raise ConfigError(
                f"box loss '{name}' returned {_described(values)} for {number} boxes; expected one value for each, "
                f"[{number}]"
            )
        return values.reshape(boxes.shape[:-1])

    return box_loss


def _described(value: Any) -> str:
    return f"a tensor {list(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
