"""Sheets of feature maps: of each image and layer the mean over the channels, and the channels that vary most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mapopt.drawing.tiles import Tile, draw_sheet

CHANNELS = 6
"""Of a layer that are shown, beside their mean."""
_SIDE = 170


def draw_layers(
    pictures: Sequence[NDArray[np.uint8]], maps: Mapping[str, Tensor], *, names: Sequence[str], about: str
) -> Image.Image:
    """Returns a sheet with a row for every image and layer.

    Args:
        pictures: ``[height, width, 3]`` each, as the detector was given them.
        maps: ``[images, channels, h, w]`` by the names of the layers.
        names: of the images.
        about: a sentence on the detector.
    """
    tiles = []
    for place, pixels in enumerate(pictures):
        for name, values in maps.items():
            stack = values[place].numpy().astype(np.float64)
            # Those that tell places apart, not those that are large everywhere.
            strongest = np.argsort(-stack.std((1, 2)), kind="stable")[:CHANNELS]
            tiles.append(Tile(Image.fromarray(pixels), words=names[place]))
            tiles.append(Tile(_shaded(np.abs(stack).mean(0), pixels.shape[:2]), words=f"{name}, {len(stack)} channels"))
            tiles += [
                Tile(_shaded(stack[channel], pixels.shape[:2]), words=f"channel {channel}") for channel in strongest
            ]
            # A layer of few channels leaves its row open.
            blank = Image.new("RGB", (pixels.shape[1], pixels.shape[0]), "white")
            tiles += [Tile(blank)] * (CHANNELS - len(strongest))
    text = (
        f"{about} To the right of each image the mean of the absolute values over a layer's channels, then the "
        f"{CHANNELS} channels that vary most over the image; each from its smallest (dark) to its largest value."
    )
    return draw_sheet(tiles, title="What layers make of images", about=text, columns=CHANNELS + 2, side=_SIDE)


def _shaded(values: NDArray[np.float64], size: tuple[int, int]) -> Image.Image:
    """Returns a map in colors, its cells as large as they are in an image of a size (height, width)."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    colors = matplotlib.colormaps["viridis"](scaled)[..., :3]
    factor = max(1, round(_SIDE / max(size)))
    picture = Image.fromarray((colors * 255).astype(np.uint8))
    return picture.resize((size[1] * factor, size[0] * factor), Image.Resampling.NEAREST)
