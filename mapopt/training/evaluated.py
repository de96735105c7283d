"""The weights that are evaluated and kept for detection, where they are not those that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mapopt.detectors.interface import Detector

EVALUATED = "evaluated"
"""Among a snapshot's tensors: the weights of detection where the optimizer has others than those that it trains. A
detector that is loaded has no optimizer to ask."""


@contextmanager
@torch.no_grad()
def evaluating(detector: Detector, weights: Tensor, lanes: Sequence[int]) -> Iterator[None]:
    """Gives a detector other weights, of some lanes, and then its own again.

    Args:
        detector: whose weights stay a leaf that requires a gradient.
        weights: ``[lanes, n]``, its own among others.
        lanes: which of them; not all only of a network of many lanes, which takes its weights from there alone.
    """
    own = detector.weights
    if list(lanes) != list(range(len(own))):
        detector.weights = weights[list(lanes)]
        try:
            yield
        finally:
            detector.weights = own
        return
    if weights.data_ptr() == own.data_ptr():
        yield
        return
    trained = own.detach().clone()
    own.copy_(weights)
    try:
        yield
    finally:
        own.copy_(trained)
