"""How a box loss is scaled to a class loss, lane by lane: by their values, or by their gradients at the outputs.

An error-driven loss's value and its gradient are different things, and what divides a trunk between two losses is their
gradients. So gradients are compared, where they are cheap to have: at the outputs of the network, before they go back
through it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.losses.sums.lists import accumulation_type


def by_values(class_term: Tensor, box_term: Tensor) -> Tensor:
    """Returns the factors ``[lanes]`` with which the box loss is as large as the class loss.

    Args:
        class_term: ``[lanes]``.
        box_term: ``[lanes]``.

    Reference: K. Oksuz et al., "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021, section 4.
    """
    return class_term.detach() / box_term.detach().clamp(min=1e-6)


def by_gradients(
    class_term: Tensor, box_term: Tensor, *, scores: Tensor, boxes: Tensor, sides: Tensor, ratio: float
) -> Tensor:
    """Returns the factors ``[lanes]`` with which the box loss's gradient is `ratio` times as long as the class loss's.

    The lengths are those of a lane's whole gradient: the class loss's with respect to its scores, the box loss's with
    respect to the predicted boxes, in units of the sides of the objects that they answer for. So a factor depends
    neither on the size of the images nor on how a detector encodes boxes. What a class loss sends into the boxes, as
    the localization part of aLRP and of mean_ap does, is neither counted nor scaled. The factor is 1 where the boxes
    have no gradient, because there is no object, and where a length is not finite, which the terms themselves then
    show.

    Args:
        class_term: ``[lanes]``, a lane's from its own scores.
        box_term: ``[lanes]``, a lane's from its own boxes.
        scores: ``[lanes, ...]`` of which the class loss is a function; of a single lane in any shape.
        boxes: ``[lanes, ..., 4]`` xyxy, of which the box loss is a function.
        sides: ``[lanes, ..., 2]`` width and height of the objects, in pixels.
        ratio: of the lengths.
    """
    of_class = _gradient(class_term, scores)
    of_boxes = _gradient(box_term, boxes) * torch.cat([sides, sides], dim=-1)
    long, short = _length(of_class if len(class_term) > 1 else of_class[None]), _length(of_boxes)
    factor = (ratio * long / short).to(box_term.dtype)
    return torch.where((short > 0) & torch.isfinite(factor), factor, 1.0)


def _gradient(term: Tensor, outputs: Tensor) -> Tensor:
    """Returns the gradient of a term, which still has to go back through the network afterwards."""
    if not term.requires_grad:
        return torch.zeros_like(outputs)
    (gradient,) = torch.autograd.grad(term.sum(), outputs, retain_graph=True, allow_unused=True)
    return torch.zeros_like(outputs) if gradient is None else gradient


def _length(gradient: Tensor) -> Tensor:
    """Returns the length of each lane's part of a gradient ``[lanes, ...]``; squares of small numbers must not vanish.

    Lane after lane, so that the order in which it is summed cannot depend on their number.
    """
    wide = accumulation_type(gradient.device)
    return torch.stack([torch.linalg.vector_norm(lane.reshape(-1), dtype=wide) for lane in gradient])
