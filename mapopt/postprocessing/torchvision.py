"""Where torchvision's detectors keep the limits of what they report, and how a model is run without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_LIMITS = ("score_thresh", "nms_thresh", "detections_per_img")


def limits_of(model: nn.Module) -> Any:
    """Returns what holds a detector's score threshold, its suppression's IoU and its limit per image; None if nothing.

    Of torchvision's one-stage detectors it is the model itself, of Faster, Mask and Keypoint R-CNN its ``roi_heads``.
    """
    for place in (model, getattr(model, "roi_heads", None)):
        if all(hasattr(place, name) for name in _LIMITS):
            return place
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode for a block, and each of its modules back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
