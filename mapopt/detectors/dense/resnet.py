"""A ResNet-18 with a feature pyramid, for images that are too large for the tiny network.

From scratch its norms are GroupNorm: a batch norm's running statistics would be state that is neither a weight nor a
knob, would tie an image's loss to its batch, and would have to follow averaged and copied weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d

from mapopt.detectors.dense.rows import Row, RowModule, seeded
from mapopt.detectors.interface import normalize, prior_logit
from mapopt.detectors.pretrained import choose_weights, fetch_weights

_WIDTH = 128
_DEPTH = 2
_STRIDES = (8, 16, 32, 64)
_PRIORS = (4.0, 4.0 * 2**0.5)
"""Sides of the prior boxes in strides; with neighbors half an octave apart, few objects fit none of them."""


class ResNetNetwork:
    """Maps of stride 8, 16, 32 and 64 with two prior boxes per location, half an octave apart: 32 to 362 pixels.

    Args:
        classes: number of categories.
        weights: name of a member of torchvision's ``ResNet18_Weights``, such as ``"DEFAULT"``; the body then starts
            from ImageNet and its batch norms are frozen.

    Raises:
        ConfigError: the weights have no such name, or cannot be downloaded.

    Reference:
        T.-Y. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017. GroupNorm from scratch: K. He,
        R. Girshick, P. Dollar, "Rethinking ImageNet Pre-training", ICCV 2019. Differs: two square priors per location.
    """

    strides: tuple[int, ...] = tuple(stride for stride in _STRIDES for _ in _PRIORS)
    """Each stride twice: the priors of a location stand in the lists of levels as levels of the same stride."""
    prior_sizes: tuple[float, ...] = tuple(stride * prior for stride in _STRIDES for prior in _PRIORS)

    def __init__(self, classes: int, weights: str | None = None, *, bias: float | None = None) -> None:
        self.classes = classes
        self._bias = prior_logit() if bias is None else bias
        self._body: dict[str, Tensor] | None = None
        if weights is not None:
            self._body = fetch_weights("resnet18", choose_weights("resnet18", weights, [ResNet18_Weights]))
        self._module = self._build(0)
        self._row = Row(self._module)
        self.parameters = self._row.parameters
        self._bound: RowModule | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy's parameters are its own: as views, each would be pickled with the whole row.
        return {**vars(self), "_module": copy.deepcopy(self._module), "_bound": None}

    def bind(self, weights: Tensor) -> RowModule:
        """Makes the weights ``[1, n]`` of a detector its own."""
        # What follows the device are a pretrained body's frozen norms: they are constants, not weights.
        self._bound = RowModule(self._module.to(weights.device), self._row, weights)
        return self._bound

    @property
    def module(self) -> nn.Module:
        """The module that computes it, whose layers can be looked at; its weights come from outside."""
        return self._module

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its parameters by name, in order."""
        return self._row.shapes

    def classes_of(self, part: str) -> list[int]:
        """Returns whose logits the rows of the class head are: all classes of one prior, then of the next."""
        return [*range(self.classes)] * len(_PRIORS)

    def decay_mask(self) -> Tensor:
        """Returns float ``[n]``: 1 on convolution weights, 0 on norms and biases."""
        return self._row.decay_mask()

    def draw(self, seed: int) -> Tensor:
        """Returns fresh weights ``[n]``, the body's being the pretrained ones if they were asked for."""
        return self._row.join(self._build(seed))

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

    def _build(self, seed: int) -> _PyramidDetector:
        with seeded(seed):
            module = _PyramidDetector(
                self.classes, group_norm if self._body is None else FrozenBatchNorm2d, bias=self._bias
            )
        if self._body is not None:
            body = module.backbone.body
            # The pyramid needs all of the classifier but its last layer.
            body.load_state_dict({name: self._body[name] for name in body.state_dict()})
        return module


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns a GroupNorm of 32 groups, the number its authors recommend.

    Reference: Y. Wu, K. He, "Group Normalization", ECCV 2018, table 3.
    """
    return nn.GroupNorm(32, channels)


class _PyramidDetector(nn.Module):
    def __init__(self, classes: int, norm: Callable[[int], nn.Module], *, bias: float) -> None:
        super().__init__()
        layers = {f"layer{level}": str(level) for level in (2, 3, 4)}
        body = resnet18(weights=None, norm_layer=norm)
        self.backbone = BackboneWithFPN(body, layers, [128, 256, 512], _WIDTH)
        self.class_tower, self.box_tower = _tower(), _tower()
        self.class_head = _head(len(_PRIORS) * classes, bias=bias)
        self.box_head = _head(len(_PRIORS) * 4, bias=0.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        levels = list(self.backbone(normalize(images)).values())
        # One head for all levels: what an object of twice the size looks like one level up is what it looks like here.
        logits = torch.cat([_rows(self.class_head(self.class_tower(level))) for level in levels], dim=1)
        deltas = torch.cat([_rows(self.box_head(self.box_tower(level))) for level in levels], dim=1)
        return logits, deltas, [(level.shape[-2], level.shape[-1]) for level in levels for _ in _PRIORS]


def _tower() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(_DEPTH):
        layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False), group_norm(_WIDTH), nn.ReLU()]
    return nn.Sequential(*layers)


def _head(channels: int, *, bias: float) -> nn.Conv2d:
    head = nn.Conv2d(_WIDTH, channels, 3, padding=1)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.constant_(head.bias, bias)
    return head


def _rows(maps: Tensor) -> Tensor:
    """Returns ``[batch, priors * h * w, channels]`` of maps ``[batch, priors * channels, h, w]``."""
    return maps.unflatten(1, (len(_PRIORS), -1)).flatten(3).transpose(2, 3).flatten(1, 2)
