"""Pictures of one size as a film: an animated GIF, or an MP4 where an encoder is installed."""

from __future__ import annotations

import importlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mapopt.errors import ConfigError, StoreError
from mapopt.files import write_bytes

FORMATS = (".gif", ".mp4")
"""Endings of films; the ending decides the format."""

_EXACT = 96
"""Colours of a GIF's 256 that are taken as they are: those of lines, letters and grounds."""


def check_video(path: Path, *, overwrite: bool) -> None:
    """Finds out whether a film can be written here; writes nothing.

    Raises:
        ConfigError: the ending is of no known format, or its encoder is not installed.
        StoreError: there is something already, and nothing was said about it; or no folder can be there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"out is '{path}': expected a file that ends in {' or '.join(FORMATS)}")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder. Give --out a file.")
    if path.exists() and not overwrite:
        raise StoreError(f"{path}: is there already. Give --overwrite to replace it, or another --out.")
    folder = next(one for one in path.absolute().parents if one.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StoreError(f"{path}: cannot be written, {folder} being no folder that can be. Choose another --out.")
    if path.suffix.lower() == ".mp4":
        try:
            importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        except (ImportError, RuntimeError):
            raise ConfigError(
                f"out is '{path}', but nothing here encodes MP4: pip install 'mapopt[video]', or give a name in .gif"
            ) from None


def write_video(path: Path, pictures: Sequence[np.ndarray], *, rate: float, hold: float = 2.5) -> None:
    """Writes a film in one step.

    Args:
        path: its ending says the format.
        pictures: uint8 ``[height, width, 3]`` each, of one size; MP4 needs even sides.
        rate: pictures a second.
        hold: seconds for which the last picture stays.

    Raises:
        ConfigError: the ending is of no known format, or its encoder is not installed.
        StoreError: the file cannot be written, or the encoder fails.
    """
    check_video(path, overwrite=True)
    encode = _gif if path.suffix.lower() == ".gif" else _mp4
    write_bytes(path, encode(pictures, rate, hold))


def _gif(pictures: Sequence[np.ndarray], rate: float, hold: float) -> bytes:
    # One palette for all: with one each, colours that stand still would flicker.
    parts = [np.unique(_code(one), return_inverse=True, return_counts=True) for one in pictures]
    palette = _palette(np.concatenate([part[0] for part in parts]), np.concatenate([part[2] for part in parts]))
    shape = pictures[0].shape[:2]
    images = [_indexed(colors, places.reshape(shape), palette) for colors, places, _ in parts]
    # A GIF counts in hundredths of a second.
    shown = max(20, 10 * round(100 / rate))
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[shown] * (len(images) - 1) + [shown + round(1000 * hold)],
        loop=0,
    )
    return buffer.getvalue()


def _code(picture: np.ndarray) -> np.ndarray:
    """Returns each colour as one number, int32 ``[height, width]``."""
    return picture.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)


def _decode(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def _palette(colors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns up to 256 colours ``[n, 3]``: what is frequent as it is, and for the rest what is near to it.

    Args:
        colors: ``[m]``, as `_code` has them, in any order and with repetitions.
        counts: ``[m]``, how many pixels have them.
    """
    known, places = np.unique(colors, return_inverse=True)
    order = np.argsort(-np.bincount(places, weights=counts), kind="stable")
    exact, rest = known[order[:_EXACT]], known[order[_EXACT:]]
    if not len(rest):
        return _decode(exact)
    near = Image.fromarray(_decode(rest)[None].astype(np.uint8)).quantize(256 - _EXACT, method=Image.Quantize.MEDIANCUT)
    return np.concatenate([_decode(exact), np.array(near.getpalette()).reshape(-1, 3)[: 256 - _EXACT]])


def _indexed(colors: np.ndarray, places: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Returns a picture in the palette's nearest colours.

    Args:
        colors: ``[m]``, as `_code` has them.
        places: ``[height, width]`` positions among them.
        palette: ``[n, 3]``.
    """
    wanted, given = _decode(colors).astype(np.float32), palette.astype(np.float32)
    # Squared distances but for a part that all entries share.
    distances = (given**2).sum(axis=1) - 2 * wanted @ given.T
    image = Image.fromarray(distances.argmin(axis=1).astype(np.uint8)[places])
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def _mp4(pictures: Sequence[np.ndarray], rate: float, hold: float) -> bytes:
    encoder = importlib.import_module("imageio_ffmpeg")
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        # Sizes are taken as they are; most players know no other layout of colours than the default, 4:2:0.
        video = encoder.write_frames(str(path), (width, height), fps=rate, quality=8, macro_block_size=1)
        try:
            video.send(None)
            for one in [*pictures, *[pictures[-1]] * round(hold * rate)]:
                video.send(np.ascontiguousarray(one))
        except OSError as error:
            raise StoreError(f"the encoder of MP4 failed ({error}): give --out a name in .gif") from None
        finally:
            video.close()
        if not path.is_file() or not path.stat().st_size:
            raise StoreError("the encoder of MP4 wrote nothing: give --out a name in .gif")
        return path.read_bytes()
