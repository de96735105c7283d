"""A small single-stage detector of today: a body of CSP stages, a pyramid in both directions, and a decoupled head.

It stands between the tiny network and a ResNet-18. Most of its weights are where maps are small, so that they cost
little. Its norms are GroupNorm: on a CPU they are as fast as BatchNorm, and there are no running statistics, which
would be state that is neither a weight nor a knob.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mapopt.detectors.dense.module_network import ModuleNetwork, location_rows, output_layer
from mapopt.detectors.dense.rows import seeded
from mapopt.detectors.dropout import dropout_of, dropped
from mapopt.detectors.interface import normalize

_STRIDES = (8, 16, 32)
_PRIOR = 3.0
"""Side of the box that a fresh network predicts, in strides: 24, 48 and 96 pixels."""
_WIDTHS = (32, 64, 128, 256)
"""Channels at stride 4 and at those of the pyramid."""
_UNITS = (1, 2, 2, 2)
"""Convolutions of 3 x 3 with a shortcut, likewise."""
_PYRAMID = 64
_GROUP = 8
"""Channels that are normalized together."""


class NanoNetwork(ModuleNetwork):
    """Maps of stride 8, 16 and 32 with one point per location, from which a box has a center and two sides.

    The box of a point is given relative to a square of three strides around it. That is what anchor-free detectors do,
    up to the factor 3: no shape is preferred, and `exp` reaches from a sixth to sixty times a stride.

    Args:
        classes: number of categories.
        bias: where class logits start; None for a probability of .01.
        dropout: probability with which a channel of a map that the heads read is left out.

    Reference:
        CSP stages: C.-Y. Wang et al., "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", CVPR
        Workshops 2020. Convolutions with a shortcut each: X. Ding et al., "RepVGG: Making VGG-style ConvNets Great
        Again", CVPR 2021; differs: no branch of 1 x 1, which would cost as much as it saves later. Points in place of
        priors: Z. Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019. Decoupled head and
        the parameters of its boxes: Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430; differs:
        one head for all levels, as in FCOS, and no output for objectness. Pyramid in both directions: S. Liu et al.,
        "Path Aggregation Network for Instance Segmentation", CVPR 2018; differs: maps are added.
    """

    strides: tuple[int, ...] = _STRIDES
    prior_sizes: tuple[float, ...] = tuple(stride * _PRIOR for stride in _STRIDES)

    def classes_of(self, part: str) -> list[int]:
        """Returns whose logits the rows of the class head are."""
        return [*range(self.classes)]

    def _build(self, seed: int) -> nn.Module:
        with seeded(seed):
            return _NanoModule(self.classes, bias=self._bias, dropout=self._dropout)


class _NanoModule(nn.Module):
    def __init__(self, classes: int, *, bias: float, dropout: float) -> None:
        super().__init__()
        # Kernels of neighboring patches overlap by a pixel on either side.
        self.stem = _unit(3, _WIDTHS[0], kernel=6, stride=4, padding=1)
        self.stages = nn.ModuleList([_Stage(_WIDTHS[0], _UNITS[0])])
        for inputs, outputs, units in zip(_WIDTHS[:-1], _WIDTHS[1:], _UNITS[1:], strict=True):
            self.stages.append(nn.Sequential(_unit(inputs, outputs, stride=2), _Stage(outputs, units)))
        self.lateral = nn.ModuleList(_unit(width, _PYRAMID, kernel=1) for width in _WIDTHS[1:])
        pairs = range(len(_STRIDES) - 1)
        self.finer = nn.ModuleList(_Stage(_PYRAMID, 1) for _ in pairs)
        self.reduce = nn.ModuleList(_unit(_PYRAMID, _PYRAMID, stride=2) for _ in pairs)
        self.coarser = nn.ModuleList(_Stage(_PYRAMID, 1) for _ in pairs)
        self.dropout = dropout_of(dropout)
        self.class_tower, self.box_tower = _unit(_PYRAMID, _PYRAMID), _unit(_PYRAMID, _PYRAMID)
        self.class_head = output_layer(_PYRAMID, classes, bias=bias, kernel=1)
        self.box_head = output_layer(_PYRAMID, 4, bias=0.0, kernel=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        maps = self.stages[0](self.stem(normalize(images)))
        levels: list[Tensor] = []
        for stage, lateral in zip(self.stages[1:], self.lateral, strict=True):
            maps = stage(maps)
            levels.append(lateral(maps))
        for level, stage in zip(reversed(range(len(levels) - 1)), self.finer, strict=True):
            levels[level] = stage(levels[level] + nn.functional.interpolate(levels[level + 1], scale_factor=2.0))
        for level, (reduce, stage) in enumerate(zip(self.reduce, self.coarser, strict=True), start=1):
            levels[level] = stage(levels[level] + reduce(levels[level - 1]))
        levels = dropped(self, levels)
        logits = torch.cat([location_rows(self.class_head(self.class_tower(level))) for level in levels], dim=1)
        deltas = torch.cat([location_rows(self.box_head(self.box_tower(level))) for level in levels], dim=1)
        return logits, deltas, [(level.shape[-2], level.shape[-1]) for level in levels]


class _Stage(nn.Module):
    """Half of the channels passes convolutions with a shortcut each, the other half goes by them."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.enter = _unit(channels, channels, kernel=1)
        self.units = nn.ModuleList(_unit(channels // 2, channels // 2) for _ in range(units))
        self.leave = _unit(channels, channels, kernel=1)

    def forward(self, maps: Tensor) -> Tensor:
        kept, maps = self.enter(maps).chunk(2, dim=1)
        for unit in self.units:
            maps = maps + unit(maps)
        leave: Tensor = self.leave(torch.cat([kept, maps], dim=1))
        return leave


def _unit(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    """Returns a convolution, its norm and its activation."""
    border = kernel // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, border, bias=False),
        nn.GroupNorm(outputs // _GROUP, outputs),
        nn.ReLU(inplace=True),
    )
