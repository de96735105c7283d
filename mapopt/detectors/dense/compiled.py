"""The tiny network on a CPU: its layers as compiled loops over lanes, with a backward pass written out.

The layers are cut where least has to be remembered: a block normalizes the maps that the layer before has made,
rectifies them and convolves them, and backward it does the first two again, because what fits into the cache is made
faster than fetched. So a step keeps what the convolutions made, a few numbers per norm, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.compiling import load_kernels
from mapopt.detectors.dense.gathering import VECTOR, Gather, Terms, Tiles, patch_terms, terms_of, tiles_of

_Array = NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """A norm, a rectifier and a convolution, as places in a lane's weights."""

    channels: int
    outputs: int
    kernel: int
    stride: int
    scale: int
    """Where the norm's scales begin."""
    shift: int
    """Where its shifts begin."""
    weight: int
    """Where the convolution's weights begin."""
    bias: int = -1
    """Where its biases begin; -1 for none."""


@dataclass(frozen=True)
class Layers:
    """A network of patches and blocks."""

    patch: int
    """Height and width of a patch in pixels."""
    outputs: int
    """Channels that the patches are multiplied to."""
    weight: int
    """Where in a lane's weights the kernels of the patches begin."""
    blocks: tuple[Block, ...]
    group: int
    """Channels that are normalized together."""
    epsilon: float = 1e-5
    """Added to variances."""


class Kernels(NamedTuple):
    """Modules of compiled loops."""

    lanes: ModuleType
    tiles: ModuleType


def kernels_for(weights: Tensor) -> Kernels | None:
    """Returns the compiled loops, or None off the CPU, under autocast, and where nothing can be compiled."""
    if weights.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    lanes, tiles = (load_kernels(f"mapopt.detectors.dense.{name}") for name in ("lane_kernels", "tile_kernels"))
    return None if lanes is None or tiles is None else Kernels(lanes, tiles)


def run_layers(kernels: Kernels, layers: Layers, weights: Tensor, images: Tensor, scaling: Tensor) -> Tensor:
    """Runs the layers on the images of every lane.

    Args:
        kernels: from `kernels_for`.
        layers: the network.
        weights: ``[lanes, n]``.
        images: ``[lanes, batch, channels, h, w]``; no gradient goes to them.
        scaling: ``[2, channels]``: by what pixels are multiplied first, and what is then added.

    Returns:
        ``[lanes, outputs, h, w, batch]`` of the last block.
    """
    maps: Tensor = _Layers.apply(weights, images, kernels, layers, scaling)
    return maps


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, images: Tensor, kernels: Kernels, layers: Layers, scaling: Tensor) -> Tensor:
        images = images.to(weights.dtype).contiguous()
        plan = _Plan(layers, tuple(images.shape[1:]))
        rows, (scale, shift) = weights.detach().contiguous().numpy(), scaling.to(weights.dtype).contiguous().numpy()
        lanes = len(rows)
        maps = [np.empty((lanes, layers.outputs * plan.patches.plane), rows.dtype)]
        kernels.lanes.patches_forward(
            images.numpy(), scale, shift, rows, layers.weight, plan.patches, plan.batch, maps[0]
        )
        statistics = []
        for block, terms, size in zip(layers.blocks, plan.terms, plan.sizes, strict=True):
            measured = np.empty((lanes, block.channels // layers.group, 2, plan.batch), rows.dtype)
            out = np.empty((lanes, block.outputs * size[0] * size[1] * plan.batch), rows.dtype)
            loops = kernels.tiles if isinstance(terms, Tiles) else kernels.lanes
            places = (block.scale, block.shift, block.weight, block.bias)
            loops.block_forward(maps[-1], rows, places, terms, plan.batch, layers.group, layers.epsilon, measured, out)
            maps.append(out)
            statistics.append(measured)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(weights, images)
            ctx.kept = (kernels, layers, plan, scale, shift, maps[:-1], statistics)
        made = torch.from_numpy(maps[-1]).view(lanes, layers.blocks[-1].outputs, *plan.sizes[-1], plan.batch)
        return made[..., : images.shape[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        weights, images = ctx.saved_tensors
        kernels, layers, plan, scale, shift, maps, statistics = ctx.kept
        rows = weights.detach().contiguous().numpy()
        lanes, missing = len(rows), plan.batch - upstream.shape[-1]
        gradient = np.zeros(rows.shape, rows.dtype)
        above = torch.nn.functional.pad(upstream, (0, missing)).contiguous().view(lanes, -1).numpy()
        for block, terms, below, measured in zip(
            reversed(layers.blocks), reversed(plan.terms), reversed(maps), reversed(statistics), strict=True
        ):
            passed = np.empty_like(below)
            places = (block.scale, block.shift, block.weight, block.bias)
            loops = kernels.tiles if isinstance(terms, Tiles) else kernels.lanes
            loops.block_backward(
                below, rows, places, terms, plan.batch, layers.group, measured, above, gradient, passed
            )
            above = passed
        kernels.lanes.patches_backward(
            images.numpy(), scale, shift, above, plan.patches, plan.batch, gradient, layers.weight
        )
        return torch.from_numpy(gradient), None, None, None, None


class _Plan:
    """The offsets of all layers for batches of one shape ``(batch, channels, h, w)``."""

    patches: Gather
    terms: list[Terms | Tiles]
    batch: int
    sizes: list[tuple[int, int]]
    """Height and width of what each block makes."""

    def __init__(self, layers: Layers, shape: tuple[int, ...]) -> None:
        count, channels, height, width = shape
        self.batch = -(-count // VECTOR) * VECTOR
        self.patches = patch_terms(channels, (height, width), batch=self.batch, patch=layers.patch)
        size = (height // layers.patch, width // layers.patch)
        self.terms, self.sizes = [], []
        for block in layers.blocks:
            between = block.channels, block.outputs
            if block.kernel == 3 and block.stride == 1:
                self.terms.append(tiles_of(*between, size, batch=self.batch))
            else:
                self.terms.append(terms_of(*between, size, batch=self.batch, kernel=block.kernel, stride=block.stride))
            size = ((size[0] - 1) // block.stride + 1, (size[1] - 1) // block.stride + 1)
            self.sizes.append(size)
