"""Pixels of image files that are decoded when they are asked for, so that a set may be larger than memory.

What is asked for next can be said beforehand; threads then decode it while something else computes, and the numbers are
the same as without. All files are read once at the start: a damaged image is no surprise in the middle of a run, and
fingerprints are those of the same images in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mapopt.data.image_files import open_image
from mapopt.data.pixels import letterbox

_TOGETHER = 32
"""Images that are decoded at once where all are read in turn; bounds the memory."""


class Decoded(NamedTuple):
    """An image in its frame, and what was remarkable about its file; see `mapopt.data.image_files.OpenedImage`."""

    pixels: Tensor
    turned: bool
    peak: int


class PixelsOnDemand:
    """Stands for a tensor uint8 ``[I, 3, height, width]`` of which only what is asked for is in memory.

    Args:
        paths: of the images.
        sizes: (width, height) of each as it was annotated ``[I, 2]``.
        scale: pixels of the frame for each of an image ``[I]``.
        size: (height, width) of the frames.
        bits: how many bits of images with 16 bits are in use.
        workers: threads that decode what is asked for; 0 decodes in the caller's.

    Attributes:
        device: where what is asked for is put.
        dtype: that of the pixels.
        workers: as given.
    """

    dtype = torch.uint8

    def __init__(
        self,
        paths: Sequence[Path],
        sizes: np.ndarray,
        scale: np.ndarray,
        *,
        size: tuple[int, int],
        bits: int = 16,
        workers: int = 0,
    ) -> None:
        self._paths, self._sizes, self._scale = list(map(str, paths)), sizes, scale
        self._size, self._bits, self.workers = size, bits, workers
        self._pool = _pool(workers)
        self._coming: dict[int, Future[Decoded]] = {}
        self.device = torch.device("cpu")
        self.hashes: list[str] = []
        """What tells each image's pixels from others, once all were read; see `read_all`."""

    def __getstate__(self) -> dict[str, Any]:
        # Threads, and what they are about to decode, stay where they are.
        return {**vars(self), "_pool": None, "_coming": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pool = _pool(self.workers)

    @property
    def shape(self) -> torch.Size:
        """As the tensor's."""
        return torch.Size((len(self._paths), 3, *self._size))

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return 0

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._paths)

    def __getitem__(self, key: Any) -> Tensor:
        """Returns what the tensor would: of a position, a slice, a list or an index along the first dimension."""
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        places = torch.arange(len(self))[first]
        pixels = self.index_select(0, places.reshape(-1)).view(*places.shape, *self.shape[1:])
        return pixels[(*[slice(None)] * places.dim(), *rest)] if rest else pixels

    def __iter__(self) -> Iterator[Tensor]:
        """Yields the images in turn."""
        return (decoded.pixels.to(self.device) for decoded in self.read_all())

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Returns the images at positions ``[n]``, uint8 ``[n, 3, height, width]``; along the first dimension only.

        Raises:
            DataError: a file is gone by now, damaged, or of another size.
        """
        assert dim == 0
        pixels = torch.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for row, decoded in enumerate(self._in_turn(index.tolist())):
            pixels[row] = decoded.pixels
        return pixels.to(self.device)

    def expect(self, places: Iterable[int]) -> None:
        """Says what is asked for next, so that threads decode it meanwhile; what was expected before is forgotten."""
        if self._pool is not None:
            known = self._coming
            self._coming = {place: known.get(place) or self._begin(place) for place in dict.fromkeys(places)}

    def to(self, device: torch.device) -> PixelsOnDemand:
        """Returns the same images for another device."""
        other = copy(self)
        other.device, other._pool = device, self._pool
        return other

    def select(self, places: np.ndarray) -> PixelsOnDemand:
        """Returns some of the images ``[n]``, in the order given."""
        other = copy(self)
        other._paths, other._pool = [self._paths[place] for place in places], self._pool
        other._sizes, other._scale = self._sizes[places], self._scale[places]
        other.hashes = [self.hashes[place] for place in places] if self.hashes else []
        return other

    def read_all(self) -> Iterator[Decoded]:
        """Decodes all images in turn, and keeps a hash of each.

        Raises:
            DataError: a file is missing, damaged or of another size.
        """
        hashes = []
        for start in range(0, len(self), _TOGETHER):
            places = range(start, min(start + _TOGETHER, len(self)))
            self.expect(places)
            for decoded in self._in_turn(places):
                hashes.append(hash_of(decoded.pixels))
                yield decoded
        self._coming = {}
        self.hashes = hashes

    def _in_turn(self, places: Sequence[int]) -> Iterator[Decoded]:
        pending = [self._coming.get(place) or self._begin(place) for place in places] if self._pool else []
        for row, place in enumerate(places):
            yield pending[row].result() if pending else self._decode(place)

    def _begin(self, place: int) -> Future[Decoded]:
        assert self._pool is not None
        return self._pool.submit(self._decode, place)

    def _decode(self, place: int) -> Decoded:
        return decode(
            self._paths[place], self._sizes[place], float(self._scale[place]), size=self._size, bits=self._bits
        )


def _pool(workers: int) -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(workers, thread_name_prefix="decoding") if workers else None


def decode(path: str | Path, expected: np.ndarray, scale: float, *, size: tuple[int, int], bits: int) -> Decoded:
    """Returns an image file in its frame.

    Args:
        path: the file.
        expected: (width, height) as annotated.
        scale: see `mapopt.data.pixels.letterbox`.
        size: (height, width) of the frame.
        bits: see `mapopt.data.image_files.open_image`.

    Raises:
        DataError: it is missing, damaged, or of another size.
    """
    opened = open_image(path, expected=(int(expected[0]), int(expected[1])), bits=bits)
    return Decoded(letterbox(opened.image, size=size, scale=scale), opened.turned, opened.peak)


def hash_of(pixels: Tensor) -> str:
    """Returns what tells an image's pixels from others."""
    return hashlib.blake2b(pixels.numpy().data, digest_size=16).hexdigest()
