"""What scores, labels and where may be, checked once for every loss, and how numbers without measure are tamed.

Labels outside their domain are the commonest mistake, and none of them crashes: with -1 and +1 nothing is left to rank
the positives above, and class numbers or an ignore index of 255 become positives of a quality that does not exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mapopt.errors import DataError
from mapopt.losses.sums.compiler import refuse_vmap

LARGEST_LABEL = 1.001  # an overlap of equal boxes may round to just above 1


def as_tensor(name: str, given: Any, *, beside: Tensor | None = None) -> Tensor:
    """Returns a tensor of an argument that may be an array or a nested list of numbers.

    Args:
        name: of the argument.
        given: its value; tensors are returned as they are.
        beside: on whose device an array or list goes.

    Raises:
        DataError: it is something else.
    """
    if isinstance(given, Tensor):
        return given
    try:
        return torch.as_tensor(given, device=None if beside is None else beside.device)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{name} are a {type(given).__name__} that is no tensor; expected a tensor, an array or lists of numbers "
            "of equal length, [..., n]"
        ) from None


def check_lists(scores: Tensor, labels: Tensor, where: Tensor | None) -> None:
    """Checks types, shapes and devices.

    Raises:
        DataError: something does not fit.
        ConfigError: the scores are those of torch.vmap.
    """
    refuse_vmap(scores, labels)
    if scores.dim() == 0 or not scores.is_floating_point():
        raise DataError(
            f"scores are {scores.dtype} of shape {list(scores.shape)}; expected floating-point logits [..., n]: "
            "pass the detector's output before the sigmoid"
        )
    if labels.shape != scores.shape:
        raise DataError(
            f"labels have shape {list(labels.shape)} but scores {list(scores.shape)}; expected one label for each "
            "score: encode classes as one list per class"
        )
    if labels.is_complex():
        raise DataError(f"labels are {labels.dtype}; expected numbers, 0 for negatives and (0, 1] for positives")
    for name, values in (("labels", labels), ("where", where)):
        if values is not None and values.device != scores.device:
            raise DataError(f"{name} are on {values.device} but scores on {scores.device}; move one to the other")
    if where is not None:
        _check_where(where, scores)


def as_fact(name: str, given: Any, scores: Tensor) -> Tensor:
    """Returns what is known of every entry as a tensor of the scores' shape, on their device.

    Raises:
        DataError: it does not broadcast to the scores.
    """
    value = as_tensor(name, given, beside=scores).to(scores.device)
    try:
        return value.expand(scores.shape)
    except RuntimeError:
        raise DataError(
            f"{name} have shape {list(value.shape)}, which does not broadcast to the scores' {list(scores.shape)}; "
            "pass one value per score"
        ) from None


def _check_where(where: Tensor, scores: Tensor) -> None:
    try:
        fits = torch.broadcast_shapes(where.shape, scores.shape) == scores.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise DataError(
            f"where has shape {list(where.shape)}, which does not broadcast to the scores' {list(scores.shape)}; "
            "pass one value per score, False where it is to be ignored"
        )
    if where.dtype != torch.bool and not bool(((where == 0) | (where == 1)).all()):
        raise DataError(
            f"where has values between {where.min().item():g} and {where.max().item():g}; expected bool, False where "
            "an entry is to be ignored: weights are an argument of the pointwise losses"
        )


def check_labels(labels: Tensor, keep: Tensor | None, lowest: float, highest: float) -> None:
    """Checks that labels ``[lists, n]`` that count are at most 1, and are not the -1 and +1 of another convention.

    Args:
        labels: without regard of which count.
        keep: bool ``[lists, n]``, which do; None is all.
        lowest: of the labels, NaN where one is.
        highest: the same.

    Raises:
        DataError: they are not.
    """
    if not highest <= LARGEST_LABEL:  # NaN, too: another may hide behind it
        counted = labels if keep is None else labels.masked_fill(~keep, 0.0)
        large = counted.nan_to_num(0.0).max().item()
        if large > LARGEST_LABEL:
            raise DataError(
                f"labels go up to {large:g}; expected 0 for negatives and a quality in (0, 1] for positives: encode "
                "class numbers as one list per class, and an ignore index such as 255 as where=False"
            )
    if not lowest >= 0.0:
        counted = labels if keep is None else labels[keep]
        if bool(((counted == -1.0) | (counted == 1.0)).all()) and bool((counted == 1.0).any()):
            raise DataError(
                "labels are -1 and +1, which leaves no negative to rank positives above: labels below 0 are ignored; "
                "expected 0 for negatives: pass (labels > 0)"
            )


def compressed(scores: Tensor) -> Tensor:
    """Moves what lies beyond 2^32 closer, in its order: a ramp of ordinary width then still is one there.

    >>> compressed(torch.tensor([1.5, -(2.0**32), 2.0**34], dtype=torch.float64)).div(2.0**32).tolist()
    [3.4924596548080444e-10, -1.0, 3.0]
    """
    beyond = (scores.abs().clamp(_FAR, _FURTHEST) / _FAR).log2()
    return torch.where(scores.abs() > _FAR, scores.sign() * _FAR * (1.0 + beyond), scores)


_FAR = 2.0**32
_FURTHEST = 2.0**127  # about the largest number in float32
