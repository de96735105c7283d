"""Dropout in detectors: whole channels of the maps that the heads read are left out while a loss is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mapopt.collectives import ALONE, Processes

DROPOUT = "dropout"
"""What the setting is called, and the attribute of a module that holds its `ChannelDropout`."""


class ChannelDropout(nn.Module):
    """Sets channels of maps to 0, each with a probability, and scales the others up.

    It does so inside of `dropping` alone, and where there is a gradient: a loss that is only measured has none of it.

    Neighbors in a map are alike, so single numbers that are left out would be known from those around them.

    Args:
        probability: with which a channel of an image is left out.

    Reference:
        J. Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015, section 3.2
        (SpatialDropout).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._generator: torch.Generator | None = None
        self._processes = ALONE

    def forward(self, maps: Tensor) -> Tensor:
        """Returns maps ``[batch, channels, h, w]``, some of them 0."""
        if self._generator is None or not torch.is_grad_enabled():
            return maps
        # Every process draws for the images of all of them, so that how many there are changes nothing.
        shape = (len(maps) * self._processes.count, maps.shape[1])
        drawn = torch.rand(shape, generator=self._generator) >= self.probability
        own = drawn[self._processes.index * len(maps) :][: len(maps)].to(maps.device)
        return maps * (own / (1 - self.probability)).to(maps.dtype)[..., None, None]


@contextmanager
def dropping(module: nn.Module | None, seed: int, processes: Processes = ALONE) -> Iterator[None]:
    """Lets the dropout of a module, if it has any, leave channels out for a block.

    Args:
        module: which may hold a `ChannelDropout` under the name `DROPOUT`.
        seed: what is left out is a function of it.
        processes: that share the batch, each with as many images.
    """
    layer = getattr(module, DROPOUT, None)
    if not isinstance(layer, ChannelDropout):
        yield
        return
    layer._generator, layer._processes = torch.Generator().manual_seed(seed), processes
    try:
        yield
    finally:
        layer._generator, layer._processes = None, ALONE


def dropout_of(probability: float) -> ChannelDropout | None:
    """Returns a layer for a probability above 0."""
    return ChannelDropout(probability) if probability else None


def dropped(module: Any, levels: Sequence[Tensor]) -> list[Tensor]:
    """Passes the levels of a pyramid through the dropout of a module, if it has any."""
    layer = getattr(module, DROPOUT)
    return list(levels) if layer is None else [layer(level) for level in levels]


def add_dropout(model: Any, probability: float) -> None:
    """Gives a detector of torchvision dropout between its backbone and its heads; 0 changes nothing."""
    layer = dropout_of(probability)
    if layer is None:
        return
    model.add_module(DROPOUT, layer)
    model.backbone.register_forward_hook(_Hook(layer))


class _Hook:
    """Passes the maps of a backbone through a layer; a copy of the model has one that refers to the layer's copy."""

    def __init__(self, layer: ChannelDropout) -> None:
        self._layer = layer

    def __call__(self, module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return type(outputs)((name, self._layer(maps)) for name, maps in outputs.items())
