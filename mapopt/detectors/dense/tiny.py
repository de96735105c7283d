"""The tiny network: about 36 thousand parameters, and many lanes of them at once.

On a CPU its layers are compiled loops over lanes, see `mapopt.detectors.dense.compiled`. Elsewhere, and where nothing
can be compiled, lanes are the groups of one grouped convolution; a lane's numbers then do not depend on how many others
run beside it, as long as there is one: a single group would pick another kernel.
"""

from __future__ import annotations

import math
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from mapopt.detectors.dense.compiled import Block, Layers, kernels_for, run_layers
from mapopt.detectors.interface import normalize, prior_logit, scaling

_WIDTHS = (24, 40, 40, 32)
_GROUP = 8
_PATCH = 4
STRIDE = 8


class TinyNetwork:
    """A patch stem and three convolutions to one map of stride 8, with one prior box per location.

    Args:
        classes: number of categories.
        bias: of the class logits at the start; None is a background prior.

    Attributes:
        layers: where the compiled loops find the layers' numbers.
    """

    strides: tuple[int, ...] = (STRIDE,)
    prior_sizes: tuple[float, ...] = (2.0 * STRIDE,)

    def __init__(self, classes: int, *, bias: float | None = None) -> None:
        self.classes = classes
        self._bias = prior_logit() if bias is None else bias
        stem, first, second, third = _WIDTHS
        self._layers: list[tuple[str, tuple[int, ...]]] = [("stem", (stem, 3, _PATCH, _PATCH)), *_norm("stem", stem)]
        for name, wide, narrow in (("first", first, stem), ("second", second, first), ("third", third, second)):
            self._layers += [(name, (wide, narrow, 3, 3)), *_norm(name, wide)]
        self._layers += [("head", (classes + 4, third, 1, 1)), ("head.bias", (classes + 4,))]
        self.sizes = [math.prod(shape) for _, shape in self._layers]
        self.parameters = sum(self.sizes)
        self.layers = self._layout()

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its parameters by name, in order."""
        return dict(self._layers)

    def classes_of(self, part: str) -> list[int]:
        """Returns whose logits the rows of the head are; its last four are a box's."""
        return [*range(self.classes), -1, -1, -1, -1]

    def decay_mask(self) -> Tensor:
        """Returns float ``[n]``: 1 on convolution weights, 0 on norms and biases."""
        return torch.cat([torch.full((math.prod(shape),), float(len(shape) == 4)) for _, shape in self._layers])

    def draw(self, seed: int) -> Tensor:
        """Returns fresh weights ``[n]``: He initialization, unit norms, and the bias of the class logits."""
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for name, shape in self._layers:
            if name == "head":
                row = torch.randn(shape, generator=generator) * 0.01
            elif name == "head.bias":
                row = torch.cat([torch.full((self.classes,), self._bias), torch.zeros(4)])
            elif len(shape) == 4:
                row = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
            else:
                row = torch.full(shape, float(name.endswith("scale")))
            rows.append(row.flatten())
        return torch.cat(rows)

    def forward(self, weights: Tensor, images: Tensor) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Runs every lane.

        Args:
            weights: ``[lanes, n]``.
            images: ``[lanes, batch, 3, h, w]`` of 0 to 255; no gradient goes to them.

        Returns:
            class logits ``[lanes, batch, locations, classes]``, box deltas ``[lanes, batch, locations, 4]``, and the
            (height, width) of each level's map.
        """
        kernels = kernels_for(weights)
        if kernels is None:  # the numbers then differ by rounding
            return self.forward_grouped(weights, images)
        maps = run_layers(kernels, self.layers, weights, images, scaling())
        outputs = maps.flatten(2, 3).permute(0, 3, 2, 1)
        return outputs[..., : self.classes], outputs[..., self.classes :], [(maps.shape[2], maps.shape[3])]

    def min_lanes(self, weights: Tensor) -> int:
        """Returns how many lanes have to run at once: the compiled loops compute each by itself."""
        return 2 if kernels_for(weights) is None else 1

    def feature_maps(self, weights: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Returns what each layer makes of images ``[batch, 3, h, w]``, by name: the first three after their rectifier.

        Args:
            weights: of one lane, ``[1, n]``.
            images: of 0 to 255.
        """
        maps: dict[str, Tensor] = {}
        self.forward_grouped(weights, images[None], maps)
        return {name: values.detach().cpu() for name, values in maps.items()}

    def forward_grouped(
        self, weights: Tensor, images: Tensor, kept: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Does what `forward` does with torch's operations on all lanes, as a GPU wants it; `kept` gets their maps."""
        lanes, batch = images.shape[:2]
        parts = dict(zip((name for name, _ in self._layers), weights.split(self.sizes, dim=1), strict=True))
        shapes = dict(self._layers)

        def convolve(maps: Tensor, name: str, stride: int) -> Tensor:
            out, *rest = shapes[name]
            kernel = parts[name].reshape(lanes * out, *rest)
            maps = functional.conv2d(maps, kernel, stride=stride, padding=1, groups=lanes)
            return activate(maps, name)

        def activate(maps: Tensor, name: str) -> Tensor:
            scale, shift = parts[f"{name}.scale"].reshape(-1), parts[f"{name}.shift"].reshape(-1)
            maps = functional.relu(functional.group_norm(maps, maps.shape[1] // _GROUP, scale, shift))
            return keep(maps, name)

        def keep(maps: Tensor, name: str) -> Tensor:
            if kept is not None:
                kept[name] = maps
            return maps

        maps = activate(_patches(normalize(images), parts["stem"]), "stem")
        maps = convolve(maps, "first", 2)
        maps = convolve(maps, "second", 1)
        maps = convolve(maps, "third", 1)
        channels = self.classes + 4
        kernel = parts["head"].reshape(lanes * channels, -1, 1, 1)
        maps = functional.conv2d(maps, kernel, parts["head.bias"].reshape(-1), groups=lanes)
        height, width = keep(maps, "head").shape[-2:]
        outputs = maps.view(batch, lanes, channels, height * width).permute(1, 0, 3, 2)
        return outputs[..., : self.classes], outputs[..., self.classes :], [(height, width)]

    def _layout(self) -> Layers:
        """Says where in a lane's weights the layers' numbers are."""
        shapes = self.parts()
        places = dict(zip(shapes, accumulate([0, *self.sizes]), strict=False))
        blocks = []
        for before, name, stride in (("stem", "first", 2), ("first", "second", 1), ("second", "third", 1)):
            outputs, channels, kernel, _ = shapes[name]
            places_of = (places[f"{before}.scale"], places[f"{before}.shift"], places[name])
            blocks.append(Block(channels, outputs, kernel, stride, *places_of))
        outputs, channels, kernel, _ = shapes["head"]
        head = (places["third.scale"], places["third.shift"], places["head"], places["head.bias"])
        blocks.append(Block(channels, outputs, kernel, 1, *head))
        return Layers(_PATCH, shapes["stem"][0], places["stem"], tuple(blocks), _GROUP)


def _patches(images: Tensor, kernel: Tensor) -> Tensor:
    """Multiplies 4 x 4 patches of ``[lanes, batch, 3, h, w]`` with kernels: ``[batch, lanes * out, h / 4, w / 4]``.

    A convolution would do, but its kernel for 3 channels depends on the number of lanes, and so would the bits; the
    product is also faster (9 ms against 17, forward and backward, for 16 lanes of 16 images).
    """
    lanes, batch, channels, height, width = images.shape
    rows, columns, taps = height // _PATCH, width // _PATCH, channels * _PATCH**2
    out = kernel.shape[1] // taps
    patches = images.view(lanes, batch, channels, rows, _PATCH, columns, _PATCH).permute(0, 2, 4, 6, 1, 3, 5)
    maps = torch.bmm(kernel.reshape(lanes, out, -1), patches.reshape(lanes, taps, -1))
    return maps.view(lanes, out, batch, rows, columns).permute(2, 0, 1, 3, 4).reshape(batch, lanes * out, rows, columns)


def _norm(name: str, width: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(f"{name}.scale", (width,)), (f"{name}.shift", (width,))]
