"""The weights that are evaluated and kept for detection, where they are not those that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mapopt.detectors.interface import Detector

EVALUATED = "evaluated"
"""Among a snapshot's tensors: the weights of detection where the optimizer has others than those that it trains. A
detector that is loaded has no optimizer to ask."""


AVERAGE = "average"
"""Among a snapshot's tensors: the average of the weights, and, with the name of a buffer behind it, of that buffer."""


def running_statistics(detector: Detector) -> dict[str, Tensor]:
    """Returns the running statistics of a detector's batch norms by the names of their buffers, each ``[lanes, ...]``.

    Those that follow no batch, such as those of frozen norms, are not among them.
    """
    buffers = detector.buffers()
    follows = {name.removesuffix("num_batches_tracked") for name in buffers if name.endswith("num_batches_tracked")}
    return {
        name: value
        for name, value in buffers.items()
        for kind in ("running_mean", "running_var")
        if name.endswith(kind) and name.removesuffix(kind) in follows
    }


@contextmanager
@torch.no_grad()
def evaluating(
    detector: Detector, weights: Tensor, lanes: Sequence[int], statistics: Mapping[str, Tensor] | None = None
) -> Iterator[None]:
    """Gives a detector other weights, of some lanes, and then its own again.

    Args:
        detector: whose weights stay a leaf that requires a gradient.
        weights: ``[lanes, n]``, its own among others.
        lanes: which of them; not all only of a network of many lanes, which takes its weights from there alone.
        statistics: what its norms normalize by then, see `running_statistics`; by default what they do in training.
    """
    own = {name: value for name, value in detector.buffers().items() if name in (statistics or {})}
    before = {name: value.clone() for name, value in own.items()}
    for name, value in (statistics or {}).items():
        own[name].copy_(value)
    try:
        with _weighing(detector, weights, lanes):
            yield
    finally:
        for name, value in before.items():
            own[name].copy_(value)


@contextmanager
def _weighing(detector: Detector, weights: Tensor, lanes: Sequence[int]) -> Iterator[None]:
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
