"""How the logits of a batch become lists: per class, per image or one for all, tempered, and without padding images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mapopt.detectors.objective import Scope
from mapopt.losses import ListLoss, ScoreMemory


def as_lists(values: Tensor, scope: Scope) -> Tensor:
    """Reshapes ``[lanes, batch, locations, classes]`` to ``[lanes, lists, n]``."""
    if scope == "class":
        return values.permute(0, 3, 1, 2).flatten(2)
    if scope == "image":
        return values.flatten(2)
    return values.flatten(1)[:, None]


def tempered(loss: ListLoss, scores: Tensor, temperature: Tensor) -> Tensor:
    """Divides the scores ``[lanes, lists, n]`` by temperatures ``[lanes, 1, 1]``.

    An error-driven update is made of errors, not of slopes: it has no scale that the chain rule could carry back.
    """
    if getattr(loss, "gradient", None) == "error-driven":
        return _Divided.apply(scores, temperature)
    return scores / temperature


class _Divided(torch.autograd.Function):
    """Divides; the gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, divisor: Tensor) -> Tensor:
        return scores / divisor

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None


def forget_uncounted(memory: ScoreMemory, lists: tuple[Tensor, ...], entries: int, counted: Tensor) -> None:
    """Closes the gap that images which do not count leave in a memory, so that it holds as many scores as it can.

    Args:
        memory: what is corrected; it has remembered the first of `lists`.
        lists: scores, labels and where ``[lanes, lists, entries + size]``: the batch's, image by image, then older.
        entries: of the batch, per list.
        counted: bool ``[lanes, batch]``, the images that count first.
    """
    size = memory.scores.shape[-1]
    used = counted.sum(1) * (entries // counted.shape[1])
    place = torch.arange(size, device=counted.device)
    place = place + (place >= used[:, None]) * (entries - used[:, None])
    for name, values in zip(("scores", "labels", "where"), lists, strict=True):
        chosen = values.detach().gather(-1, place[:, None].expand(*values.shape[:-1], size))
        setattr(memory, name, chosen.to(getattr(memory, name).dtype))


def list_weights(present: Tensor, class_weights: Tensor | None) -> Tensor:
    """Returns how much each list counts in its lane's mean, ``[lanes, lists]``: not at all without a positive.

    Args:
        present: bool ``[lanes, lists]``, which lists have a positive.
        class_weights: ``[lanes, classes]`` of lists by class; None where all count alike.
    """
    if class_weights is None:
        return present
    # Of each class there are as many lists as IoU thresholds.
    return class_weights.repeat_interleave(present.shape[1] // class_weights.shape[1], 1) * present


def mean_over_lists(value: Tensor, weights: Tensor) -> Tensor:
    """Returns a lane's mean ``[lanes]`` of a value per list, weighted as `list_weights` says; 0 without a positive."""
    total = weights.sum(-1)
    if weights.dtype == torch.bool:
        return (value * weights).sum(-1) / total.clamp(min=1)
    return (value * weights).sum(-1) / torch.where(total > 0, total, 1.0)


def named_components(place: str, parts: Mapping[str, Tensor], *, pointwise: bool) -> dict[str, Tensor]:
    """Returns the parts of a class loss by the names that a history has them by.

    A pointwise loss has no ranking to be called by and is the class loss itself; what is blended in or added is called
    by its place in the objective.

    >>> parts = {"rank": torch.ones(1)}
    >>> [*named_components("loss", parts, pointwise=True), *named_components("blend_with", parts, pointwise=True)]
    ['class', 'blend_with']
    """
    if place == "loss":
        own = (
            ["class"]
            if pointwise and len(parts) == 1
            else [f"class.{name}" if name == "box" else name for name in parts]
        )
        return dict(zip(own, parts.values(), strict=True))
    if len(parts) == 1:
        return dict.fromkeys([place], next(iter(parts.values())))
    return {f"{place}.{name}": value for name, value in parts.items()}
