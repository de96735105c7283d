"""Where torchvision's detectors keep the limits of what they report, and what they would suppress among.

They suppress inside themselves. Lifting their limits for a while brings out the candidates, without a copy of their
code: no two boxes overlap by more than 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Columns:
    """What a detector of torchvision would suppress among."""

    boxes: NDArray[np.float32]
    """``[n, 4]`` xyxy in the pixels of the network, in which it would compare them."""
    placed: NDArray[np.float64]
    """``[n, 4]`` in the pixels of the images."""
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    """``[n]`` positions."""
    count: int
    """Number of images."""


@torch.no_grad()
def collect_candidates(model: Any, images: Iterable[Tensor], *, score_threshold: float | None, batch: int) -> Columns:
    """Runs a detector on images with its suppression lifted; it is left as it was.

    Args:
        model: one with `limits_of`.
        images: ``[3, h, w]`` of 0 to 1 each.
        score_threshold: smallest score kept; None takes the model's own.
        batch: images that the model takes at once.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    results: list[dict[str, Tensor]] = []
    network: list[Tensor] = []
    remaining = iter(images)
    with _lifted(model, score_threshold), _recorded(model.transform, network), evaluating(model):
        while chunk := [image.to(device) for image in islice(remaining, batch)]:
            results += model(chunk)
    index = np.repeat(np.arange(len(results)), [len(result["scores"]) for result in results])
    return Columns(
        boxes=_joined(network, (0, 4), np.float32),
        placed=_joined([result["boxes"] for result in results], (0, 4), np.float64),
        scores=_joined([result["scores"] for result in results], (0,), np.float32),
        labels=_joined([result["labels"] for result in results], (0,), np.int64),
        images=index.astype(np.int64),
        count=len(results),
    )


def _joined(parts: list[Tensor], empty: tuple[int, ...], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(empty, kind), *(part.cpu().numpy().astype(kind) for part in parts)])


@contextmanager
def _lifted(model: nn.Module, score_threshold: float | None) -> Iterator[None]:
    """Lets a detector report all that it would suppress among, for a block."""
    limits = limits_of(model)
    before = {name: getattr(limits, name) for name in _LIMITS}
    limits.nms_thresh, limits.detections_per_img = 1.0, sys.maxsize
    if score_threshold is not None:
        limits.score_thresh = score_threshold
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(limits, name, value)


@contextmanager
def _recorded(transform: Any, network: list[Tensor]) -> Iterator[None]:
    """Keeps the boxes of a block's results as they are before they are scaled back to the images."""
    own, covered = transform.postprocess, "postprocess" in vars(transform)

    def record(result: list[dict[str, Tensor]], *sizes: Any) -> Any:
        network.extend(detections["boxes"].clone() for detections in result)
        return own(result, *sizes)

    transform.postprocess = record
    try:
        yield
    finally:
        if covered:
            transform.postprocess = own
        else:
            del transform.postprocess
