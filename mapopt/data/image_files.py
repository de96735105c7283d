"""Opens image files with PIL: as 8-bit RGB whatever they hold, or only far enough to know their size.

Needs no torch, so that annotations can be read and checked without it; `mapopt.data.pixels` makes tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mapopt.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
"""Endings by which a file counts as an image, in the order they are tried."""


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns an image's width and height, in pixels, from the head of its file.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def open_rgb(path: str | Path, *, expected: tuple[int, int] | None = None) -> Image.Image:
    """Returns an image file decoded to RGB.

    Args:
        path: the file.
        expected: the (width, height) that its annotations were made in. An image that has it only after the turn noted
            in its EXIF data is turned.

    Raises:
        DataError: the file is missing, damaged, not an image, or of another size than expected.
    """
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = file
            if expected is not None and image.size != expected:
                image = ImageOps.exif_transpose(image)
            stored = file.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    if expected is not None and image.size != expected:
        raise DataError(
            f"{path}: is {stored[0]} x {stored[1]} pixels, but its annotations say {expected[0]} x {expected[1]}. "
            "Use the images that were annotated, or correct the annotations."
        )
    return as_rgb(image, path)


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Returns the image files among paths, folders replaced by what is in them, in the order of their names.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise DataError(
                    f"{path}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}). Give a folder that does."
                )
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: no such image or folder. Check the path.")
    return list(dict.fromkeys(files))


def as_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    """Returns the image in RGB; the modes with more than 8 bits need care, the others are PIL's to convert."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{path}: holds numbers that are not 8 or 16 bits wide (mode {image.mode}). "
                "Convert it to 8 or 16 bits; only you know which values are black and white."
            )
        return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        # By way of RGBA, because a direct conversion warns about transparency given as bytes.
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _unreadable(path: str | Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such image. Check the folder of the images and the file names.")
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"{path}: is not an image in a known format. Remove it or replace it.")
    return DataError(f"{path}: the image cannot be read ({error}). It may be damaged: replace it.")
