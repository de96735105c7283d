"""The tiny network as an ordinary module of torch's, for programs that know one set of weights and no lanes.

Its numbers are those of a lane of `mapopt.detectors.dense.tiny.TinyNetwork`, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.interface import normalize

_LAYERS = ("stem", "first", "second", "third")


class TinyModule(nn.Module):
    """A patch stem, three convolutions and a head, each but the head with a GroupNorm and a rectifier behind it.

    Args:
        network: whose layers it has; its weights are drawn by torch until `of` or ``load_state_dict`` sets them.

    >>> module = TinyModule(TinyNetwork(3))
    >>> logits, deltas, maps = module(torch.zeros(2, 3, 48, 48))
    >>> tuple(logits.shape), tuple(deltas.shape), maps
    ((2, 36, 3), (2, 36, 4), [(6, 6)])
    """

    def __init__(self, network: TinyNetwork) -> None:
        super().__init__()
        self.classes, shapes = network.classes, network.parts()
        # A stem of patches that do not overlap is a convolution whose stride is its kernel.
        strides = {"stem": network.layers.patch}
        strides |= dict(zip(_LAYERS[1:], (block.stride for block in network.layers.blocks), strict=False))
        for name in _LAYERS:
            wide, narrow, kernel, _ = shapes[name]
            padding = 0 if name == "stem" else kernel // 2
            self.add_module(name, nn.Conv2d(narrow, wide, kernel, strides[name], padding, bias=False))
            self.add_module(f"{name}_norm", nn.GroupNorm(wide // network.layers.group, wide))
        self.head = nn.Conv2d(shapes["head"][1], shapes["head"][0], 1)

    @classmethod
    def of(cls, network: TinyNetwork, weights: Tensor) -> TinyModule:
        """Returns the module with a copy of the weights ``[n]`` of a lane."""
        module, shapes = cls(network), network.parts()
        rows = weights.detach().cpu().split(network.sizes)
        parts = {name: row.view(shape) for (name, shape), row in zip(shapes.items(), rows, strict=True)}
        module.load_state_dict({_state_name(name): part for name, part in parts.items()})
        return module

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Returns logits ``[batch, locations, classes]``, deltas ``[batch, locations, 4]`` and the map's size.

        Args:
            images: ``[batch, 3, h, w]`` of 0 to 255.
        """
        maps = normalize(images)
        for name in _LAYERS:
            maps = torch.relu(getattr(self, f"{name}_norm")(getattr(self, name)(maps)))
        maps = self.head(maps)
        outputs = maps.flatten(2).transpose(1, 2)
        return outputs[..., : self.classes], outputs[..., self.classes :], [(maps.shape[2], maps.shape[3])]


def _state_name(part: str) -> str:
    """Returns what the module calls a part of a lane.

    >>> [_state_name(part) for part in ("stem", "stem.scale", "stem.shift", "head.bias")]
    ['stem.weight', 'stem_norm.weight', 'stem_norm.bias', 'head.bias']
    """
    name, _, kind = part.partition(".")
    return {
        "": f"{name}.weight",
        "scale": f"{name}_norm.weight",
        "shift": f"{name}_norm.bias",
        "bias": f"{name}.bias",
    }[kind]
