"""Pictures of one size as a video: an animated GIF, written by imageio, or an MP4 where its encoder is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapopt.errors import ConfigError, StoreError
from mapopt.ffmpeg import Running, find_ffmpeg, running
from mapopt.files import replacing, write_bytes

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
    if path.suffix.lower() == ".mp4" and not find_ffmpeg():
        raise ConfigError(
            f"out is '{path}', but nothing here encodes MP4: pip install 'mapopt[video]', or give a name in .gif"
        )


def write_video(path: Path, pictures: Sequence[np.ndarray], *, fps: float, hold: float = 2.5) -> None:
    """Writes a video in one step.

    Args:
        path: its ending says the format.
        pictures: uint8 ``[height, width, 3]`` each, of one size.
        fps: pictures a second; a GIF shows each for a whole number of hundredths of a second.
        hold: seconds for which the last picture stays.

    Raises:
        ConfigError: the ending is of no known format, or its encoder is not installed.
        StoreError: the file cannot be written, or the encoder fails.
    """
    check_video(path, overwrite=True)
    if path.suffix.lower() == ".gif":
        write_bytes(path, _gif(pictures, fps, hold))
        return
    with mp4_file(path, fps=fps) as add:
        for picture in [*pictures, *[pictures[-1]] * round(hold * fps)]:
            add(picture)


@contextmanager
def mp4_file(path: Path, *, fps: float | Fraction) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Writes an MP4 picture by picture, so that a video of any length needs no more memory than a short one.

    The block gets a function that adds a picture, uint8 ``[height, width, 3]``, all of one size. Players know only even
    sides: an odd one gets its last row or column twice. The file is there when the block ends; if it fails, nothing is
    left of it.

    Args:
        path: the file.
        fps: pictures a second.

    Raises:
        StoreError: the file cannot be written, or the encoder fails.
    """
    with replacing(path) as temporary, ExitStack() as stack:
        program: Running | None = None

        def add(picture: NDArray[np.uint8]) -> None:
            nonlocal program
            height, width, _ = picture.shape
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if program is None:
                program = stack.enter_context(running(_mp4_arguments(even, temporary, Fraction(fps))))
            try:
                program.input.write(even.tobytes())
            except OSError:
                program.finish()
                raise _failed(path, program) from None

        yield add
        if program is not None and program.finish():
            raise _failed(path, program)


def _mp4_arguments(picture: NDArray[np.uint8], file: Path, fps: Fraction) -> list[str]:
    """Returns what ffmpeg is called with to encode pictures of this size."""
    height, width, _ = picture.shape
    rate = fps.limit_denominator(100_000)
    source = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(rate)]
    # The conversion to luma and chroma that players expect of large videos, said in the file, so that all of them turn
    # it back alike. Most know no other layout than 4:2:0.
    colors = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p"]
    said = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    # Text on a picture is hard to read from 23 on, the encoder's own; "veryfast" takes half the time of its own, for
    # files of the same size. The index goes first, so that a browser can begin.
    quality = ["-crf", "18", "-preset", "veryfast", "-movflags", "+faststart"]
    return [*source, "-i", "pipe:0", *colors, *said, *quality, "-f", "mp4", "-y", f"file:{file}"]


def _failed(path: Path, program: Running) -> StoreError:
    reason = program.complaint() or "it says nothing"
    return StoreError(f"{path}: the encoder of .mp4 failed ({reason}). Make room, or choose another place.")


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
