"""A ResNet with a feature pyramid, for images that are too large for the tiny network.

From scratch its norms are GroupNorm: a batch norm's running statistics would be state that is neither a weight nor a
knob, would tie an image's loss to its batch, and would have to follow averaged and copied weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet18_Weights, ResNet50_Weights, WeightsEnum, resnet18, resnet50
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d

from mapopt.detectors.dense.module_network import ModuleNetwork, location_rows, output_layer
from mapopt.detectors.dense.rows import seeded
from mapopt.detectors.dropout import dropout_of, dropped
from mapopt.detectors.interface import normalize
from mapopt.detectors.pretrained import choose_weights, fetch_weights, load_body, read_state
from mapopt.detectors.request import is_weights_file

_WIDTH = 128
_DEPTH = 2
_STRIDES = (8, 16, 32, 64)
_PRIORS = (4.0, 4.0 * 2**0.5)
"""Sides of the prior boxes in strides; with neighbors half an octave apart, few objects fit none of them."""

Depth = Literal[18, 50]

_BODIES: dict[Depth, tuple[Callable[..., ResNet], type[WeightsEnum]]] = {
    18: (resnet18, ResNet18_Weights),
    50: (resnet50, ResNet50_Weights),
}


class ResNetNetwork(ModuleNetwork):
    """Maps of stride 8, 16, 32 and 64 with two prior boxes per location, half an octave apart: 32 to 362 pixels.

    Args:
        classes: number of categories.
        weights: name of a member of torchvision's ``ResNet18_Weights`` or ``ResNet50_Weights``, such as ``"DEFAULT"``,
            or a file of a classifier with this body; its batch norms are then frozen.
        depth: 18 or 50 layers.
        fetch: read these weights; otherwise their places are filled by a saved state.
        bias: where class logits start; None for a probability of .01.
        dropout: probability with which a channel of a map that the heads read is left out.

    Raises:
        ConfigError: the weights have no such name, or cannot be downloaded.

    Reference:
        T.-Y. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017. GroupNorm from scratch: K. He,
        R. Girshick, P. Dollar, "Rethinking ImageNet Pre-training", ICCV 2019. Differs: two square priors per location.
    """

    strides: tuple[int, ...] = tuple(stride for stride in _STRIDES for _ in _PRIORS)
    """Each stride twice: the priors of a location stand in the lists of levels as levels of the same stride."""
    prior_sizes: tuple[float, ...] = tuple(stride * prior for stride in _STRIDES for prior in _PRIORS)

    def __init__(
        self,
        classes: int,
        weights: str | None = None,
        *,
        depth: Depth = 18,
        fetch: bool = True,
        bias: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        self._depth, self._weights = depth, weights or ""
        self._body = _pretrained(depth, weights, fetch=fetch) if weights else {}
        super().__init__(classes, bias=bias, dropout=dropout)

    def classes_of(self, part: str) -> list[int]:
        """Returns whose logits the rows of the class head are: all classes of one prior, then of the next."""
        return [*range(self.classes)] * len(_PRIORS)

    def _build(self, seed: int) -> _PyramidDetector:
        with seeded(seed):
            body = _BODIES[self._depth][0](weights=None, norm_layer=FrozenBatchNorm2d if self._weights else group_norm)
            module = _PyramidDetector(body, self.classes, bias=self._bias, dropout=self._dropout)
        if self._body:
            load_body(module.backbone.body, self._body, self._weights)
        return module


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns a GroupNorm of 32 groups, the number its authors recommend.

    Reference: Y. Wu, K. He, "Group Normalization", ECCV 2018, table 3.
    """
    return nn.GroupNorm(32, channels)


def _pretrained(depth: Depth, weights: str, *, fetch: bool) -> dict[str, Tensor]:
    """Returns the state of a classifier with this body; nothing without `fetch`, which checks the name alone."""
    if is_weights_file(weights):
        return read_state(weights) if fetch else {}
    member = choose_weights(f"resnet{depth}", weights, [_BODIES[depth][1]])
    return fetch_weights(f"resnet{depth}", member) if fetch else {}


class _PyramidDetector(nn.Module):
    def __init__(self, body: ResNet, classes: int, *, bias: float, dropout: float) -> None:
        super().__init__()
        layers = {f"layer{level}": str(level) for level in (2, 3, 4)}
        widths = [body.fc.in_features // 2**halvings for halvings in (2, 1, 0)]
        self.backbone = BackboneWithFPN(body, layers, widths, _WIDTH)
        self.dropout = dropout_of(dropout)
        self.class_tower, self.box_tower = _tower(), _tower()
        self.class_head = output_layer(_WIDTH, len(_PRIORS) * classes, bias=bias)
        self.box_head = output_layer(_WIDTH, len(_PRIORS) * 4, bias=0.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        levels = dropped(self, list(self.backbone(normalize(images)).values()))
        # One head for all levels: what an object of twice the size looks like one level up is what it looks like here.
        logits = torch.cat(
            [location_rows(self.class_head(self.class_tower(level)), len(_PRIORS)) for level in levels], dim=1
        )
        deltas = torch.cat(
            [location_rows(self.box_head(self.box_tower(level)), len(_PRIORS)) for level in levels], dim=1
        )
        return logits, deltas, [(level.shape[-2], level.shape[-1]) for level in levels for _ in _PRIORS]


def _tower() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(_DEPTH):
        layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False), group_norm(_WIDTH), nn.ReLU()]
    return nn.Sequential(*layers)
