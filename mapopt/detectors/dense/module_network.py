"""A torch module as the network of a dense detector: one lane, whose weights come from outside as a row.

What differs from network to network is how a module is built and where it looks; that a row of numbers is its
parameters is the same for all.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from mapopt.detectors.dense.rows import Row, RowModule
from mapopt.detectors.interface import prior_logit


class ModuleNetwork(ABC):
    """A `mapopt.detectors.dense.detector.Network` of one lane that a module computes.

    The module returns class logits ``[batch, locations, classes]``, box deltas ``[batch, locations, 4]`` and the
    (height, width) of each level's map; it keeps no state but its parameters.

    Args:
        classes: number of categories.
        bias: where class logits start; None for a probability of .01.
        dropout: probability with which a channel of a map that the heads read is left out.

    Attributes:
        strides: pixels between the locations of each level.
        prior_sizes: sides of each level's prior boxes in pixels.
    """

    strides: tuple[int, ...]
    prior_sizes: tuple[float, ...]

    def __init__(self, classes: int, *, bias: float | None = None, dropout: float = 0.0) -> None:
        self.classes, self._dropout = classes, dropout
        self._bias = prior_logit() if bias is None else bias
        self._module = self._build(0)
        self._row = Row(self._module)
        self.parameters = self._row.parameters
        self._bound: RowModule | None = None

    @abstractmethod
    def _build(self, seed: int) -> nn.Module:
        """Returns the module with weights drawn from a seed."""

    @abstractmethod
    def classes_of(self, part: str) -> list[int]:
        """Returns the class of every row of a parameter that grows with the classes, or -1."""

    def __getstate__(self) -> dict[str, Any]:
        # A copy's parameters are its own: as views, each would be pickled with the whole row.
        return {**vars(self), "_module": copy.deepcopy(self._module), "_bound": None}

    def bind(self, weights: Tensor) -> RowModule:
        """Makes the weights ``[1, n]`` of a detector its own."""
        # What follows the device are constants, such as a pretrained body's frozen norms.
        self._bound = RowModule(self._module.to(weights.device), self._row, weights)
        return self._bound

    @property
    def module(self) -> nn.Module:
        """The module that computes it, whose layers can be looked at; its weights come from outside."""
        return self._module

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its parameters by name, in order."""
        return self._row.shapes

    def decay_mask(self) -> Tensor:
        """Returns float ``[n]``: 1 on convolution weights, 0 on norms and biases."""
        return self._row.decay_mask()

    def draw(self, seed: int) -> Tensor:
        """Returns fresh weights ``[n]``, and puts back its own constants, which a state of others may have replaced.

        What is pretrained is the same for every seed.
        """
        fresh, constants = self._build(seed), self.constants()
        for name, value in fresh.named_buffers():
            constants[name].copy_(value)
        return self._row.join(fresh)

    def constants(self) -> dict[str, Tensor]:
        """Returns what the module computes with and never trains, such as a pretrained body's frozen norms, by name."""
        return dict(self._module.named_buffers())

    def forward(self, weights: Tensor, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Runs the network.

        Args:
            weights: ``[1, n]``, those that it was bound to, or others for detection.
            images: ``[1, batch, 3, h, w]`` of 0 to 255.

        Returns:
            class logits ``[1, batch, locations, classes]``, box deltas ``[1, batch, locations, 4]``, and the
            (height, width) of each level's map.
        """
        if self._bound is None:
            logits, deltas, maps = functional_call(self._module, self._row.split(weights[0]), (images[0],))
        else:
            logits, deltas, maps = self._bound(weights, images[0])
        return logits[None], deltas[None], maps


def location_rows(maps: Tensor, priors: int = 1) -> Tensor:
    """Returns ``[batch, priors * h * w, channels]`` of maps ``[batch, priors * channels, h, w]``."""
    return maps.unflatten(1, (priors, -1)).flatten(3).transpose(2, 3).flatten(1, 2)


def output_layer(channels: int, outputs: int, *, bias: float, kernel: int = 3) -> nn.Conv2d:
    """Returns a convolution whose outputs begin near a value."""
    layer = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer
