"""Opens image files with PIL: as 8-bit RGB whatever they hold, or only far enough to know their size.

Sizes and pixels are those of the upright view everywhere: the turn that a camera notes in the file (EXIF) is applied,
as viewers and tools for annotations do. Needs no torch, so that annotations can be read and checked without it;
`mapopt.data.pixels` makes tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from mapopt.errors import DataError

_COMMON = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
VIDEOS = (
    *(".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"),
    *(".3gp", ".asf", ".flv", ".m2ts", ".mts", ".ogv", ".ts"),
)
"""Endings by which a file counts as a video."""

_NOT_READ = ("BUFR", "EMF", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Formats that Pillow only recognizes, or reads with the help of other programs."""

_ORIENTATION = 0x0112
_SIDEWAYS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Values of the EXIF orientation that exchange width and height, with what leads back from the upright view."""


class OpenedImage(NamedTuple):
    """An image in RGB, and what was done to it.

    Attributes:
        image: the upright view, unless only the stored one has the annotated size.
        turned: whether it was turned as its file notes.
        peak: the largest number of a file with 16 bits; 0 for all others.
    """

    image: Image.Image
    turned: bool
    peak: int


@cache
def image_suffixes() -> tuple[str, ...]:
    """Returns the endings by which a file counts as an image: those that Pillow reads, the common ones first."""
    Image.init()
    read = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if (kind in Image.OPEN and kind not in _NOT_READ) or kind == "MPO"
    }
    return (*_COMMON, *sorted(read - set(_COMMON)))


def is_image_name(path: Path) -> bool:
    """Returns whether the ending of a file is that of an image."""
    return path.suffix.lower() in image_suffixes()


def is_video_name(path: Path) -> bool:
    """Returns whether the ending of a file is that of a video."""
    return path.suffix.lower() in VIDEOS


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns the width and height of an image's upright view, in pixels, from the head of its file.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            if isinstance(image, PngImageFile) and _has_late_notes(Path(path)):
                image.load()
            size = image.size
            if isinstance(image, TiffImageFile):
                # New versions of Pillow give the upright size of TIFF files, others the stored one.
                size = (int(image.tag_v2[256]), int(image.tag_v2[257]))
            return size[::-1] if image_orientation(image) in _SIDEWAYS else size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def image_orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image, 1 where there is none; asks for no pixels."""
    # PNG files are loaded by their own `getexif`.
    exif = Image.Image.getexif(image)
    return int(exif.get(_ORIENTATION, 1) or 1)


def open_rgb(path: str | Path, *, expected: tuple[int, int] | None = None, bits: int = 16) -> Image.Image:
    """Returns an image file decoded to RGB, see `open_image`."""
    return open_image(path, expected=expected, bits=bits).image


def open_image(path: str | Path, *, expected: tuple[int, int] | None = None, bits: int = 16) -> OpenedImage:
    """Returns an image file decoded to RGB: its upright view, which the EXIF data of a camera tell from the stored one.

    Args:
        path: the file.
        expected: the (width, height) that its annotations were made in. Where only the image as it is stored has it,
            the image is not turned.
        bits: how many bits of files with 16 bits are in use; the upper 8 of them are kept.

    Raises:
        DataError: the file is missing, damaged, not an image, or of another size than expected.
    """
    try:
        with Image.open(path) as file:
            # Pillow turns TIFF files itself and forgets that it did; the notes of a PNG file may come after its pixels.
            turn = image_orientation(file) if isinstance(file, TiffImageFile) else 1
            file.load()
            turn = turn if isinstance(file, TiffImageFile) else image_orientation(file)
            image: Image.Image = ImageOps.exif_transpose(file) or file
            turned = turn != 1
            if expected is not None and image.size != expected == image.size[::-1] and turn in _SIDEWAYS:
                image, turned = image.transpose(_SIDEWAYS[turn]), False
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    if expected is not None and image.size != expected:
        raise DataError(
            f"{path}: is {image.width} x {image.height} pixels, but its annotations say {expected[0]} x {expected[1]}. "
            "Use the images that were annotated, or correct the annotations."
        )
    peak = int(np.asarray(image).max()) if is_deep(image) else 0
    return OpenedImage(as_rgb(image, path, bits=bits), turned, peak)


def find_images(paths: Sequence[str | Path], *, videos: bool = False) -> list[Path]:
    """Returns the image files among paths, folders replaced by what is in them, in the order of their names.

    Args:
        paths: files and folders.
        videos: whether video files count as images.

    Raises:
        DataError: a path does not exist, a folder holds no image, or a file is a video and those do not count.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if os.path.isdir(path):
            inside = sorted(file for file in path.iterdir() if is_image_name(file) or (videos and is_video_name(file)))
            if not inside:
                others = f" and no video ({', '.join(sorted(VIDEOS))})" if videos else ""
                raise DataError(
                    f"{path}: holds no image ({', '.join(sorted(_COMMON))}, or another ending that Pillow reads)"
                    f"{others}. Give a folder that does."
                )
            files += inside
        elif os.path.isfile(path):
            if is_video_name(path) and not videos:
                raise _unreadable(path, UnidentifiedImageError())
            files.append(path)
        else:
            raise DataError(f"{path}: no such image or folder. Check the path.")
    return list(dict.fromkeys(files))


def is_deep(image: Image.Image) -> bool:
    """Returns whether an image has more than 8 bits in each channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def as_rgb(image: Image.Image, path: str | Path, *, bits: int = 16) -> Image.Image:
    """Returns the image in RGB; the modes with more than 8 bits need care, the others are PIL's to convert."""
    if is_deep(image):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{path}: holds numbers that are not 8 or 16 bits wide (mode {image.mode}). "
                "Convert it to 8 or 16 bits; only you know which values are black and white."
            )
        if values.max() >= 1 << bits:
            raise DataError(
                f"{path}: holds the number {values.max()}, which does not fit into {bits} bits. Give --bits "
                f"{int(values.max()).bit_length()} or more, so that no value is cut off."
            )
        return Image.fromarray((values.astype(np.uint32) >> (bits - 8)).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        # By way of RGBA, because a direct conversion warns about transparency given as bytes.
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _has_late_notes(path: Path) -> bool:
    """Returns whether a PNG file has EXIF data behind its pixels, where only loading it finds them."""
    behind = False
    for kind in _png_chunks(path):
        behind = behind or kind == b"IDAT"
        if behind and kind in (b"eXIf", b"iTXt", b"zTXt"):
            return True
    return False


def _png_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            yield head[4:]
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)


def _unreadable(path: str | Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such image. Check the folder of the images and the file names.")
    if is_video_name(Path(path)):
        return DataError(
            f"{path}: is a video, and only images are read here. `mapopt predict` reads videos; for anything else save "
            "their frames as images."
        )
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"{path}: is not an image in a known format. Remove it or replace it.")
    return DataError(f"{path}: the image cannot be read ({error}). It may be damaged: replace it.")
