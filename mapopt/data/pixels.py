"""Makes tensors of images: three channels of 8 bits, fitted into a frame of one size.

Whatever a file holds (gray, 16 bits, a palette, transparency, CMYK), a detector gets three channels of 8 bits. Images
are fitted by `letterbox`: scaled with their aspect kept, put at the top left, the rest mid gray, so that boxes move by
one factor and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mapopt.data.image_files import open_rgb

PADDING = 127
"""The gray that fills what an image leaves of its frame."""


def read_image(path: str | Path) -> Tensor:
    """Returns an image as uint8 ``[3, H, W]``.

    16-bit values keep their upper 8 bits, palettes are looked up, transparency is ignored, gray becomes three equal
    channels. The turn that a camera notes in the file (EXIF) is applied.

    Raises:
        DataError: the file is missing, damaged or not an image.
    """
    return _to_tensor(open_rgb(path))


def letterbox(image: Image.Image, *, size: tuple[int, int], scale: float) -> Tensor:
    """Returns an RGB image scaled by `scale`, at the top left of a gray frame: uint8 ``[3, height, width]``.

    Args:
        image: the image.
        size: (height, width) of the frame.
        scale: pixels of the frame for each of the image, see `letterbox_scale`. It holds exactly in both directions:
            where it does not give whole pixels, the part of the last one is cut off.
    """
    height, width = size
    inner = (min(width, max(1, int(image.width * scale + 1e-3))), min(height, max(1, int(image.height * scale + 1e-3))))
    frame = torch.full((3, height, width), PADDING, dtype=torch.uint8)
    if inner != image.size or scale != 1.0:
        box = (0.0, 0.0, min(inner[0] / scale, image.width), min(inner[1] / scale, image.height))
        image = image.resize(inner, Image.Resampling.BILINEAR, box=box)
    frame[:, : inner[1], : inner[0]] = _to_tensor(image)
    return frame


def letterbox_scale(widths: np.ndarray, heights: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Returns the factors, float32 ``[n]``, that fit images of these sizes into a frame of (height, width)."""
    return np.minimum(size[0] / heights, size[1] / widths).astype(np.float32)


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
