"""The two assignments of a dense detector: by how well priors overlap the objects, or by how well predictions fit them.

The first asks the geometry alone and is the same at every step; the second asks the network, and changes with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.dense.geometry import Assignment, Priors, assign, in_crowd, pairwise_iou, prior_boxes
from mapopt.detectors.interface import KnobTable, Targets


class IouAssigner:
    """A location is a positive where its prior overlaps an object by the knob ``assign_iou`` near the middle of it."""

    def __call__(self, logits: Tensor, boxes: Tensor, priors: Priors, targets: Targets, knobs: KnobTable) -> Assignment:
        """Returns the assignment; see `mapopt.detectors.Assigner`."""
        places = prior_boxes(priors).expand_as(boxes)
        return assign(places, priors, targets.boxes, targets.labels, targets.crowd, knobs["assign_iou"])


class TaskAlignedAssigner:
    """Each object takes the locations inside it whose predictions are best in both ways: by t = p^alpha u^beta.

    p is the probability of the object's class, u the IoU of the predicted box with the object. Of several objects that
    take a location, the one it overlaps best keeps it. An object with no location inside, or none whose box touches it,
    has no positive, and so has one whose locations all went to others. The knob ``assign_iou`` is not read.

    Args:
        topk: locations that an object takes at the most.
        alpha: how much the probability counts.
        beta: how much the IoU counts.

    Reference:
        Feng, Zhong, Gao, Scott, Huang, "TOOD: Task-aligned One-stage Object Detection", ICCV 2021, section 3.3, whose
        values are the defaults; YOLOv8 has topk 10, alpha 0.5 and beta 6. Differs: the best are chosen among the
        locations inside the object, as in YOLOv8, where TOOD drops those outside afterwards; no other assignment for
        the first epochs; equal values are taken in the order of the locations.
    """

    def __init__(self, topk: int = 13, alpha: float = 1.0, beta: float = 6.0) -> None:
        self.topk, self.alpha, self.beta = topk, alpha, beta

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, priors: Priors, targets: Targets, knobs: KnobTable) -> Assignment:
        """Returns the assignment; see `mapopt.detectors.Assigner`."""
        real = (targets.labels >= 0) & ~targets.crowd
        overlap = pairwise_iou(boxes, targets.boxes)
        # What is not a number is a candidate, so that it reaches the losses and is seen there.
        candidate = _inside(priors.centers, targets.boxes) & real[..., None, :] & ~(overlap <= 0)
        taken = candidate & self._best(logits, overlap, targets.labels, candidate)
        chosen = torch.where(taken.any(-1), torch.where(taken, overlap, -1.0).max(-1).indices, -1)
        crowd = in_crowd(priors.centers, targets.boxes, targets.crowd & (targets.labels >= 0))
        return Assignment(chosen, crowd & (chosen < 0))

    def _best(self, logits: Tensor, overlap: Tensor, labels: Tensor, candidate: Tensor) -> Tensor:
        """Returns which locations are among the best of each object, bool ``[lanes, batch, locations, g]``."""
        column = labels.clamp(min=0)[..., None, :].expand_as(overlap)
        # In logarithms nothing vanishes: a network that knows nothing yet has probabilities of .01 and IoUs of .1.
        alignment = self.alpha * torch.nn.functional.logsigmoid(logits).gather(-1, column) + self.beta * overlap.log()
        order = torch.where(candidate, alignment, -torch.inf).argsort(dim=-2, descending=True, stable=True)
        best = torch.zeros_like(candidate)
        return best.scatter_(-2, order[..., : self.topk, :], True)


def _inside(centers: Tensor, objects: Tensor) -> Tensor:
    """Returns which locations ``[locations, 2]`` lie inside which objects, bool ``[lanes, batch, locations, g]``."""
    low, high = objects[..., None, :, :2], objects[..., None, :, 2:]
    return ((centers[:, None] > low) & (centers[:, None] < high)).all(-1)
