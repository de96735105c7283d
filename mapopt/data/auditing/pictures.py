"""Looks at every image file once: can it be read, how large is it, how is it turned, what does it look like in small.

The small picture serves for the likeness of images and for the placement of boxes. Likeness is a difference hash: of
the picture in 17 x 16 gray cells, whether each is brighter than its left neighbor, 256 bits. These are a few lines
here, which see the same upright pixels as training does; a package for it would bring a wavelet library along.

Reference: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013, has the difference hash with 64 bits; with 256,
plain backgrounds of microscopes differ.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mapopt.data.image_files import as_rgb, image_orientation
from mapopt.errors import DataError

SIDE = 128
"""Pixels of the longer side of a small picture."""
CELLS = 16


@dataclass(frozen=True, eq=False)
class Look:
    """What an image file looks like.

    Attributes:
        size: (width, height) of its upright view; (0, 0) where it cannot be read.
        orientation: EXIF's, 1 where nothing is turned.
        digest: of the file's bytes; empty where there is no file.
        small: uint8 ``[h, w, 3]`` the picture, as annotated, with `SIDE` pixels on its longer side.
        bits: uint8 ``[32]`` the difference hash.
        gray: float32 ``[16, 16]`` brightness of its cells, 0 to 255.
        fault: why it cannot be read; empty where it can.
    """

    size: tuple[int, int]
    orientation: int
    digest: bytes
    small: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    gray: NDArray[np.float32]
    fault: str = ""


def look_at(path: Path, annotated: tuple[int, int]) -> Look:
    """Returns what an image file looks like; never raises for what is wrong with it.

    Args:
        path: the file.
        annotated: (width, height) that its annotations were made in; 0 where unknown. Where only the stored view has
            it, the picture is not turned.
    """
    try:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError as error:
        return no_look(b"", "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror))
    try:
        with Image.open(path) as file:
            orientation = image_orientation(file)
            size = file.size
            file.draft("RGB", (2 * SIDE, 2 * SIDE))
            file.load()
            upright = ImageOps.exif_transpose(file) or file
            sideways = orientation in (5, 6, 7, 8)
            size = size[::-1] if sideways else size
            stored = sideways and size != annotated == size[::-1]
            image = as_rgb(file if stored else upright, path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, DataError) as error:
        return no_look(digest, str(error).splitlines()[0] if str(error) else type(error).__name__)
    factor = SIDE / max(image.size)
    sides = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = np.asarray(image.resize(sides, Image.Resampling.BOX))
    # In floating numbers, because in whole ones a plain background is the same or not by chance.
    cells = Image.fromarray(small.astype(np.float32).mean(axis=2)).resize((CELLS + 1, CELLS), Image.Resampling.BOX)
    gray = np.asarray(cells, dtype=np.float32)
    return Look(
        size=size,
        orientation=orientation,
        digest=digest,
        small=small,
        bits=np.packbits(gray[:, 1:] > gray[:, :-1]),
        gray=gray[:, 1:],
    )


def no_look(digest: bytes, fault: str) -> Look:
    """Returns what is known of a file that cannot be read."""
    none = np.zeros((CELLS, CELLS), dtype=np.float32)
    empty = np.zeros((1, 1, 3), dtype=np.uint8)
    return Look((0, 0), 1, digest, empty, np.zeros(CELLS * CELLS // 8, dtype=np.uint8), none, fault)
