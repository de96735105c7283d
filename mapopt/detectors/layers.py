"""What the named layers of a detector make of an image: their feature maps, without training and without a trace.

Layers of torch modules are called as in their module; the tiny network's as its parameters are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mapopt.detectors.interface import Detector, KnobTable
from mapopt.errors import ConfigError, unknown_name


@torch.no_grad()
def feature_maps(detector: Detector, images: Tensor, knobs: KnobTable, layers: Sequence[str] = ()) -> dict[str, Tensor]:
    """Returns the feature maps of layers by their names, each ``[batch, channels, height, width]``.

    A layer that is called several times in a pass, such as a head on every level of a pyramid, gives a map for each
    call, from the second on with its number behind the name: ``class_head``, ``class_head.2``.

    Args:
        detector: with trained weights in its first lane.
        images: float ``[batch, 3, h, w]`` of 0 to 255.
        knobs: values per lane.
        layers: names, in the order in which the maps are wanted; all by default, in the order of the pass.

    Raises:
        ConfigError: a layer is unknown, or the detector has none that can be seen.
    """
    network = getattr(detector, "network", None)
    module = getattr(detector, "model", None) or getattr(network, "module", None)
    maps: dict[str, Tensor] = {}
    if isinstance(module, nn.Module):
        with _watched(module, maps):
            detector.detect(images.expand(detector.lanes, *images.shape), knobs)
        # What is cut out of the maps for single boxes is no map of an image.
        maps = {name: values for name, values in maps.items() if len(values) == len(images)}
    elif network is not None and hasattr(network, "feature_maps"):
        maps = network.feature_maps(detector.weights[:1], images)
    if not maps:
        raise ConfigError(
            f"a detector of type {type(detector).__name__} has no layers that can be seen: expected one of ours, or a "
            "torch.nn.Module whose layers return maps"
        )
    for name in layers:
        if name not in maps:
            raise ConfigError(unknown_name("layer", name, maps))
    return {name: maps[name] for name in layers} if layers else maps


@contextmanager
def _watched(module: nn.Module, maps: dict[str, Tensor]) -> Iterator[None]:
    """Keeps every map that a layer of a module returns inside."""
    handles = [layer.register_forward_hook(_keeper(name, maps)) for name, layer in module.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keeper(name: str, maps: dict[str, Tensor]) -> Any:
    def keep(layer: nn.Module, inputs: Any, output: Any) -> None:
        outputs = output.items() if isinstance(output, Mapping) else [("", output)]
        for key, value in outputs:
            if isinstance(value, Tensor) and value.dim() == 4:
                called = f"{name}.{key}" if key else name
                number = 1
                while (called if number == 1 else f"{called}.{number}") in maps:
                    number += 1
                maps[called if number == 1 else f"{called}.{number}"] = value.detach().float().cpu().clone()

    return keep
