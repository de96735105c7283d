"""Pictures of one size as a video, written by imageio: an animated GIF, or an MP4 where its encoder is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mapopt.errors import ConfigError, StoreError
from mapopt.files import write_bytes

FORMATS = (".gif", ".mp4")
"""Endings of videos; the ending decides the format."""


def check_video(path: Path, *, overwrite: bool) -> None:
    """Finds out whether a video can be written here; writes nothing.

    Raises:
        ConfigError: the ending is of no known format, or its encoder is not installed.
        StoreError: there is something already, and it is not to be overwritten; or no folder can be there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"out is '{path}': expected a file that ends in {' or '.join(FORMATS)}")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder. Give --out a file.")
    if path.exists() and not overwrite:
        raise StoreError(f"{path}: is there already. Give --overwrite to replace it, or another --out.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StoreError(f"{path}: cannot be written, {folder} being no folder that can be. Choose another --out.")
    if path.suffix.lower() == ".mp4":
        try:
            importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        except (ImportError, RuntimeError):
            raise ConfigError(
                f"out is '{path}', but nothing here encodes MP4: pip install 'mapopt[video]', or give a name in .gif"
            ) from None


def write_video(path: Path, pictures: Sequence[np.ndarray], *, fps: float, hold: float = 2.5) -> None:
    """Writes a video in one step.

    Args:
        path: its ending says the format.
        pictures: uint8 ``[height, width, 3]`` each, of one size; MP4 needs even sides.
        fps: pictures a second; a GIF shows each for a whole number of hundredths of a second.
        hold: seconds for which the last picture stays.

    Raises:
        ConfigError: the ending is of no known format, or its encoder is not installed.
        StoreError: the file cannot be written, or the encoder fails.
    """
    check_video(path, overwrite=True)
    encode = _gif if path.suffix.lower() == ".gif" else _mp4
    write_bytes(path, encode(pictures, fps, hold))


def _gif(pictures: Sequence[np.ndarray], fps: float, hold: float) -> bytes:
    shown = max(20, 10 * round(100 / fps))
    durations = [shown] * (len(pictures) - 1) + [shown + round(1000 * hold)]
    return _encode(_one_palette(pictures), ".gif", plugin="pillow", duration=durations, loop=0)


def _one_palette(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the pictures in 256 colors for all: with as many for each, what stands still would flicker."""
    stack = Image.fromarray(np.concatenate(pictures))
    # Maximum coverage keeps colors of few pixels, which the median cut gives up for shades of frequent ones.
    indexed = stack.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return np.asarray(indexed.convert("RGB")).reshape(len(pictures), *pictures[0].shape)


def _mp4(pictures: Sequence[np.ndarray], fps: float, hold: float) -> bytes:
    frames = [*pictures, *[pictures[-1]] * round(hold * fps)]
    # Sizes are taken as they are; most players know no other layout of colors than the default, 4:2:0.
    return _encode(np.stack(frames), ".mp4", plugin="FFMPEG", fps=fps, quality=8, macro_block_size=1)


def _encode(pictures: np.ndarray, ending: str, **settings: Any) -> bytes:
    """Returns the content of a video file."""
    import imageio.v3

    try:
        content = imageio.v3.imwrite("<bytes>", pictures, extension=ending, **settings)
    except OSError as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[-1]
        raise StoreError(f"the encoder of {ending} failed ({reason}): give --out a name with another ending") from None
    if not content:
        raise StoreError(f"the encoder of {ending} wrote nothing: give --out a name with another ending")
    return bytes(content)
