"""Augmentation of a whole batch at once: flip, scale and crop, color and noise, by one strength.

Every sample has its own draw, a pure function of the run's seed and the images seen before it, and the strength is
applied to the draw afterwards; so turning the knob changes how far each sample moves and never which way.

The geometry is separable (flip, scale, shift), hence two small matrix products per image do it, with antialiasing; on
the CPU it is one compiled pass per image. torchvision.transforms.v2 gives one draw to a whole batch, and image by image
it is too slow for a fleet. The single operations below agree with ``transforms.v2.functional`` where both exist, and a
test holds them to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mapopt.compiling import load_kernels
from mapopt.data.augmentation.numbers import numbers_of
from mapopt.data.augmentation.settings import MIN_VISIBLE, NONE, Augmentation
from mapopt.data.order import sample_uniforms

_STREAM = 1
_NUMBERS = 10
_NOISE_BANK = 1 << 20
_GRAY = 114.0
_LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """What was drawn for each of ``[n]`` samples at the asked strength; all tensors float32 ``[n]``."""

    flip: Tensor
    scale: Tensor
    shift_x: Tensor
    shift_y: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    noise: Tensor
    noise_offset: Tensor


def draw(
    seed: int,
    start: int,
    count: int,
    strength: float | np.ndarray,
    *,
    given: Augmentation = NONE,
    factor: float | np.ndarray = 1.0,
) -> Draw:
    """Draws the augmentation of the samples from `start` on.

    Args:
        seed: the run's seed.
        start: images the run has seen already.
        count: samples.
        strength: 0 (nothing, not even a flip) to 1, for all samples or for each of ``[count]``.
        given: numbers that some of the kinds have of their own, in place of the strength.
        factor: of their probabilities, for all samples or for each.
    """
    uniform = sample_uniforms(seed, start, count, _NUMBERS, stream=_STREAM)
    signed = 2 * uniform - 1
    own = _own_strengths(given, seed, start, count, factor)
    zoom = np.exp2(own.get("scale", strength) * signed[:, 1])
    columns = {
        "flip": (uniform[:, 0] < own.get("flip", np.minimum(strength, 0.5))).astype(np.float64),
        "scale": zoom,
        # A zoomed-in sample is cropped somewhere inside; a zoomed-out one is placed somewhere inside the frame.
        "shift_x": signed[:, 2] * np.abs(1 - zoom) / 2,
        "shift_y": signed[:, 3] * np.abs(1 - zoom) / 2,
        "brightness": 1 + 0.5 * own.get("brightness", strength) * signed[:, 4],
        "contrast": 1 + 0.5 * own.get("contrast", strength) * signed[:, 5],
        "saturation": 1 + 0.8 * own.get("saturation", strength) * signed[:, 6],
        "noise": own["noise"] * uniform[:, 7] if "noise" in own else 25.0 * strength * np.maximum(signed[:, 7], 0),
        "noise_offset": uniform[:, 8],
    }
    return Draw(**{name: torch.from_numpy(column.astype(np.float32)) for name, column in columns.items()})


def _own_strengths(
    given: Augmentation, seed: int, start: int, count: int, factor: float | np.ndarray
) -> dict[str, np.ndarray]:
    """Returns what stands in for the one strength, ``[count]`` for each of the kinds that have numbers of their own.

    Of flip it is the probability, of noise the largest standard deviation.
    """
    own: dict[str, np.ndarray] = {}
    if given.flip is not None:
        own["flip"] = given.flip * factor * np.ones(count)
    for name, unit in (("scale", 1.0), ("brightness", 0.5), ("contrast", 0.5), ("saturation", 0.8), ("noise", 1.0)):
        value = getattr(given, name)
        if value is not None:
            chance = numbers_of(name, seed, start, count, 1)[:, 0]
            happens = chance < getattr(given, f"{name}_probability") * factor
            own[name] = happens * (np.log2(value) if name == "scale" else value / unit)
    return own


def augment_images(images: Tensor, drawn: Draw) -> Tensor:
    """Applies a draw to images.

    Args:
        images: ``[n, 3, h, w]``, uint8 or float of 0 to 255.
        drawn: one entry per image.

    Returns:
        float32 ``[n, 3, h, w]`` of 0 to 255.
    """
    kernels = load_kernels("mapopt.data.augmentation.kernels") if images.device.type == "cpu" else None
    if kernels is None:  # the numbers then differ by rounding
        return augment_together(images, drawn)
    return _augment_one_by_one(images, drawn, kernels.augment)


def augment_together(images: Tensor, drawn: Draw) -> Tensor:
    """Does what `augment_images` does with torch's operations on the whole batch, as a GPU wants it."""
    count, channels, height, width = images.shape
    # Gray, not black, fills what a zoomed-out sample leaves free: resample the difference from gray.
    values = images.float().sub_(_GRAY)
    columns = _resampling(width, drawn.scale, drawn.shift_x, drawn.flip)
    values = torch.bmm(values.view(count, channels * height, width), columns.transpose(1, 2))
    values = values.view(count, channels, height, width)
    rows = _resampling(height, drawn.scale, drawn.shift_y, torch.zeros_like(drawn.flip))
    values = torch.stack([torch.bmm(rows, values[:, channel]) for channel in range(channels)], dim=1)
    values = _color(values, drawn)
    noisy = drawn.noise.nonzero().squeeze(1)
    if len(noisy):
        noise = _noise(drawn.noise_offset[noisy], values.shape)
        values.index_add_(0, noisy, noise.mul_(drawn.noise[noisy, None, None, None]))
    return values.clamp_(0, 255)


def _augment_one_by_one(images: Tensor, drawn: Draw, kernel: Callable[..., None]) -> Tensor:
    augmented = torch.empty(images.shape)
    bank = _noise_bank("cpu", _windows(images[0].numel()))
    kernel(
        images.contiguous().numpy(),
        *(value.contiguous().numpy() for value in (drawn.scale, drawn.shift_x, drawn.shift_y, drawn.flip)),
        *(value.contiguous().numpy() for value in (drawn.brightness, drawn.contrast, drawn.saturation, drawn.noise)),
        _noise_starts(drawn.noise_offset, bank, images[0].numel()).numpy(),
        bank.numpy(),
        np.float32(_GRAY),
        np.array(_LUMA, dtype=np.float32),
        augmented.numpy(),
    )
    return augmented


def augment_boxes(boxes: Tensor, drawn: Draw, size: tuple[int, int]) -> Tensor:
    """Applies a draw to boxes and clips them to the frame.

    Args:
        boxes: ``[n, g, 4]`` xyxy pixels.
        drawn: one entry per image.
        size: (height, width) in pixels.

    Returns:
        ``[n, g, 4]``. A box pushed out of the frame keeps no area; `visible` tells which to keep.
    """
    height, width = size
    scale = drawn.scale[:, None]
    x1, y1, x2, y2 = boxes.unbind(-1)
    mirrored = drawn.flip[:, None] > 0
    x1, x2 = torch.where(mirrored, width - x2, x1), torch.where(mirrored, width - x1, x2)
    center_x, center_y = width * (0.5 + drawn.shift_x[:, None]), height * (0.5 + drawn.shift_y[:, None])
    moved = (
        ((x1 - width / 2) * scale + center_x).clamp(0, width),
        ((y1 - height / 2) * scale + center_y).clamp(0, height),
        ((x2 - width / 2) * scale + center_x).clamp(0, width),
        ((y2 - height / 2) * scale + center_y).clamp(0, height),
    )
    return torch.stack(moved, dim=-1)


def visible(before: Tensor, after: Tensor, drawn: Draw, *, minimum: float | Tensor = MIN_VISIBLE) -> Tensor:
    """Returns bool ``[n, g]``: boxes of which at least the fraction `minimum` of the area is still in the frame.

    Args:
        before: ``[n, g, 4]`` before the draw was applied.
        after: ``[n, g, 4]`` after it.
        drawn: one entry per image.
        minimum: for all, or for each box ``[n, g]``.
    """
    full = _area(before) * drawn.scale[:, None] ** 2
    return (_area(after) >= minimum * full) & (_area(after) > 1.0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _resampling(size: int, scale: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """Returns ``[n, size, size]``: the triangle-filter weights from input pixels to output pixels along one axis."""
    centers = torch.arange(size, dtype=torch.float32, device=scale.device) + 0.5
    # Output pixel x shows input position (x - center - shift) / scale + center.
    source = (centers[None] - size / 2 - shift[:, None] * size) / scale[:, None] + size / 2
    source = torch.where(flip[:, None] > 0, size - source, source)
    support = (1 / scale).clamp(min=1.0)[:, None, None]
    weights = (1 - (centers[None, None, :] - source[:, :, None]).abs() / support).clamp(min=0)
    inside = ((source > 0) & (source < size))[:, :, None]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6) * inside


def _color(values: Tensor, drawn: Draw) -> Tensor:
    """Brightness, saturation and contrast as torchvision defines them, as one 3 x 3 matrix and bias per image.

    Args:
        values: ``[n, 3, h, w]``, less the gray.
        drawn: one entry per image.
    """
    weights = torch.tensor(_LUMA, device=values.device)
    brightness, contrast, saturation = drawn.brightness, drawn.contrast, drawn.saturation
    keep = (brightness * contrast * saturation)[:, None, None] * torch.eye(3, device=values.device)
    matrix = keep + (brightness * contrast * (1 - saturation))[:, None, None] * weights.expand(3, 3)
    mean = ((values.mean((2, 3)) + _GRAY) * weights).sum(1) * brightness
    bias = _GRAY * matrix.sum(2) + ((1 - contrast) * mean)[:, None]
    return torch.baddbmm(bias[:, :, None], matrix, values.flatten(2)).view(values.shape)


def _noise(offsets: Tensor, shape: torch.Size) -> Tensor:
    count = int(np.prod(shape[1:]))
    bank = _noise_bank(str(offsets.device), _windows(count))
    return bank.unfold(0, count, 1)[_noise_starts(offsets, bank, count)].view(-1, *shape[1:])


def _noise_starts(offsets: Tensor, bank: Tensor, count: int) -> Tensor:
    """Returns where in the bank the window of `count` numbers of each sample begins."""
    return (offsets.double() * (bank.numel() - count)).long()


def _windows(count: int) -> int:
    """Returns how many copies of the bank hold a window of `count` numbers."""
    return 1 if count < _NOISE_BANK else -(-(count + 1) // _NOISE_BANK) + 1


@lru_cache(maxsize=2)
def _noise_bank(device: str, copies: int) -> Tensor:
    """Standard normal numbers that every sample's noise is a window of: a window is cheap, a draw per pixel is not."""
    bank = torch.from_numpy(np.random.default_rng(0).standard_normal(_NOISE_BANK, dtype=np.float32))
    return bank.repeat(copies).to(device)
