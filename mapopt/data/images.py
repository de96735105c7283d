"""Holds images of one size with their annotations: what a trainer reads.

Every image is decoded and scaled once, into one tensor of bytes, or whenever it is asked for. The annotations stay in
original pixels, because AP is measured there; `ImageSet.scale` leads from one to the other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.memory import check_memory
from mapopt.data.on_demand import PixelsOnDemand, decode, hash_of
from mapopt.data.options import check_bits
from mapopt.data.pixels import letterbox_scale
from mapopt.errors import ConfigError, DataError
from mapopt.passes import steps


@dataclass(frozen=True, eq=False)
class Targets:
    """What each image shows, in the network's pixels, padded to the same number of objects.

    Attributes:
        boxes: float32 ``[I, G, 4]``, corners; 0 where padded.
        labels: int64 ``[I, G]``, category positions; -1 where padded.
        crowd: bool ``[I, G]``; False where padded.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images at one size, with their annotations.

    Attributes:
        annotations: in original pixels.
        size: (height, width) of every image, what the network takes in.
        pixels: uint8 ``[I, 3, height, width]``, or what stands for it.
        scale: float32 ``[I]``; original coordinates = the network's / scale.

    Raises:
        DataError: the tensors do not fit the annotations.
    """

    annotations: Annotations
    size: tuple[int, int]
    pixels: Tensor | PixelsOnDemand
    scale: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.annotations), 3, *self.size)
        if tuple(self.pixels.shape) != shape or self.pixels.dtype != torch.uint8:
            raise DataError(
                f"pixels are {self.pixels.dtype} {list(self.pixels.shape)}. Expected torch.uint8 {list(shape)}."
            )
        if self.scale.shape != shape[:1] or self.scale.dtype != torch.float32 or not bool((self.scale > 0).all()):
            raise DataError(f"scale must be {shape[0]} positive float32 numbers, one for each image.")

    @classmethod
    def read(
        cls,
        annotations: Annotations,
        *,
        size: tuple[int, int],
        workers: int = 0,
        bits: int = 16,
        on_demand: bool = False,
    ) -> ImageSet:
        """Decodes the images of `annotations.root` and fits them into frames of one size.

        What is remarkable about the files, such as photographs that were turned, is added to the annotations' remarks.

        Args:
            annotations: which images.
            size: (height, width) of the frames, in pixels.
            workers: threads that decode; 0 decodes in this one. The result is the same.
            bits: how many bits of images with 16 bits are in use, 8 to 16; the upper 8 of them are kept.
            on_demand: hold no image, but decode it again whenever it is asked for.

        Raises:
            DataError: images are missing, damaged, of another size than annotated, or too many for the memory.
            ConfigError: the size or the number of workers is not positive, or there are no such bits.
        """
        if min(size) < 1 or workers < 0:
            raise ConfigError(f"size {size} and workers {workers}: expected positive sizes and at least 0 workers.")
        check_bits(bits)
        if not on_demand:
            check_memory([len(annotations)], size)
        paths = image_paths(annotations)
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise DataError(
                f"{missing[0]}: no such image; {len(missing)} of {len(paths)} images of this set are missing. "
                "Check the folder of the images and the file names in the annotations."
            )
        scale = letterbox_scale(annotations.widths, annotations.heights, size=size)
        sizes = np.stack([annotations.widths, annotations.heights], axis=1)
        turned, peaks = np.zeros(len(paths), dtype=bool), np.zeros(len(paths), dtype=np.int64)
        kept: Tensor | PixelsOnDemand
        if on_demand:
            kept = PixelsOnDemand(paths, sizes, scale, size=size, bits=bits, workers=workers)
            digest = _digest(annotations, size)
            with steps("reading", len(paths), "images") as work:
                for position, image in enumerate(kept.read_all()):
                    turned[position], peaks[position] = image.turned, image.peak
                    digest.update(image.pixels.numpy().data)
                    work.advance(position + 1)
        else:
            pixels = kept = torch.empty((len(paths), 3, *size), dtype=torch.uint8)

            def read(position: int) -> None:
                image = decode(paths[position], sizes[position], float(scale[position]), size=size, bits=bits)
                turned[position], peaks[position] = image.turned, image.peak
                pixels[position] = image.pixels

            with steps("reading", len(paths), "images") as work, ExitStack() as stack:
                places = range(len(paths))
                pool = stack.enter_context(ThreadPoolExecutor(workers)) if workers else None
                for position, _ in enumerate(pool.map(read, places) if pool else map(read, places)):
                    work.advance(position + 1)
        annotations = annotations.with_remarks(_about_turns(turned), _about_depth(peaks, bits))
        images = cls(annotations=annotations, size=size, pixels=kept, scale=torch.from_numpy(scale))
        if on_demand:
            vars(images)["fingerprint"] = digest.hexdigest()  # to be known without reading all once more
        return images

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.annotations)

    def select(self, image_positions: ArrayLike) -> ImageSet:
        """Returns the set of some images, in the order given."""
        chosen = np.asarray(image_positions)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64).reshape(-1)
        annotations = self.annotations.select(chosen)
        where = torch.from_numpy(chosen)
        pixels = self.pixels.select(chosen) if isinstance(self.pixels, PixelsOnDemand) else self.pixels[where]
        return ImageSet(annotations=annotations, size=self.size, pixels=pixels, scale=self.scale[where])

    def targets(self) -> Targets:
        """Returns the boxes in the network's pixels, clipped to the image, padded to the largest number of objects."""
        source = self.annotations
        order = np.argsort(source.images, kind="stable")
        counts = np.bincount(source.images, minlength=len(source))
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rows = source.images[order]
        slots = np.arange(len(order)) - first[rows]
        shape = (len(source), max(1, int(counts.max())))
        extent = np.stack([source.widths, source.heights] * 2, axis=1)[rows]
        factor = self.scale.numpy().astype(np.float64)[rows, None]
        height, width = self.size
        scaled = np.clip(source.boxes[order], 0, extent) * factor
        boxes = np.zeros((*shape, 4), dtype=np.float32)
        boxes[rows, slots] = np.minimum(scaled, (width, height, width, height))
        labels = np.full(shape, -1, dtype=np.int64)
        labels[rows, slots] = source.labels[order]
        crowd = np.zeros(shape, dtype=bool)
        crowd[rows, slots] = source.crowd[order]
        return Targets(*(torch.from_numpy(values) for values in (boxes, labels, crowd)))

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any pixel, size or annotation, but not with the folder."""
        digest = _digest(self.annotations, self.size)
        for image in self._in_turn():
            digest.update(image.numpy().data)
        return digest.hexdigest()

    def _in_turn(self) -> Iterator[Tensor]:
        """Yields all images' pixels."""
        yield from self.pixels if isinstance(self.pixels, PixelsOnDemand) else self.pixels.contiguous()

    def identities(self, *, by_path: bool) -> list[str]:
        """Returns what tells each image from others: its file's real path, or else a hash of its pixels."""
        if by_path:
            return [str(path.resolve()) for path in image_paths(self.annotations)]
        if isinstance(self.pixels, PixelsOnDemand) and self.pixels.hashes:
            return self.pixels.hashes
        return [hash_of(image) for image in self._in_turn()]


def _digest(source: Annotations, size: tuple[int, int]) -> hashlib.blake2b:
    """Returns a hash of everything about images but their pixels, which are to be added in turn."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((size, source.file_names, source.category_names)).encode())
    sizes = (source.image_ids, source.widths, source.heights, source.category_ids)
    objects = (source.boxes, source.labels, source.images, source.crowd, source.area, source.ids)
    for column in (*sizes, *objects):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest


def _about_turns(turned: NDArray[np.bool_]) -> str:
    if not turned.any():
        return ""
    return f"{number_of(int(turned.sum()), 'image', 'images')} turned upright, as noted in the file (EXIF)."


def _about_depth(peaks: NDArray[np.int64], bits: int) -> str:
    """Says that images with 16 bits are nearly black, because their values use less of them."""
    used = max(8, int(peaks.max()).bit_length()) if len(peaks) and peaks.max() else bits
    if used >= bits:
        return ""
    return (
        f"The images of 16 bits use {used} of {bits} bits (the largest value is {peaks.max()}), so that they are dark: "
        f"--bits {used} scales them."
    )


def image_paths(annotations: Annotations) -> list[Path]:
    """Returns the path of each image.

    Raises:
        DataError: the annotations have no folder.
    """
    if annotations.root is None:
        raise DataError("these annotations have no folder of images. Give one when you read them: images_dir.")
    return [annotations.root / name for name in annotations.file_names]
