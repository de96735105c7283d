"""Reads videos frame by frame, in order: whatever their length, a single frame is in memory.

Frames are upright, as a phone's note about its turn says, and all that are stored are read, also where some are shown
longer than others. Needs the extra `video`, and no torch.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mapopt.data.image_files import find_images, is_video_name
from mapopt.errors import ConfigError, DataError, MapoptError
from mapopt.ffmpeg import find_ffmpeg, running
from mapopt.passes import steps


@dataclass(frozen=True)
class Frames:
    """What is known of the frames of a video that are looked at, once all were read.

    Attributes:
        size: (width, height) of all of them, in pixels.
        seconds: float64 ``[n]``, when each is shown, counted from the first.
        rate: how many of those that are looked at there are in a second, on average.
        damage: what ffmpeg says of a damaged file; empty for a sound one.
    """

    size: tuple[int, int]
    seconds: NDArray[np.float64]
    rate: Fraction
    damage: str


class Video:
    """A video file, of which every frame is looked at, or every n-th.

    Args:
        path: the file.
        every: take the first of so many frames.

    Raises:
        ConfigError: the extra `video` is not installed, or `every` is below 1.
    """

    def __init__(self, path: str | Path, *, every: int = 1) -> None:
        self.path, self.every = Path(path), every
        self._chosen: NDArray[np.int64] | None = None
        _check_every(every)
        if not find_ffmpeg():
            raise ConfigError(f"{path}: is a video, and nothing here decodes it: pip install 'mapopt[video]'")

    def __len__(self) -> int:
        """Returns the number of frames that are looked at; the first time all are decoded."""
        return len(self.numbers)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the frames that are looked at, ``[n]``, counted from 0 over all of the file."""
        return self._positions * self.every

    @property
    def seconds(self) -> NDArray[np.float64]:
        """When each of them is shown, ``[n]``, counted from the first frame of the file."""
        return self.known.seconds[self._positions]

    def select(self, positions: ArrayLike) -> Video:
        """Returns the video with only some of the frames that are looked at, by ascending positions among them."""
        other = copy(self)
        other._chosen = self._positions[np.asarray(positions, dtype=np.int64)]
        return other

    def frames(self) -> Iterator[tuple[int, Image.Image]]:
        """Yields the frames that are looked at, in RGB, each with its number in the file, from 0.

        A damaged video whose frames were not counted before ends with a warning where it breaks off.

        Raises:
            DataError: there is no frame, or one less than were counted.
        """
        wanted = None if self._chosen is None else set(self._chosen.tolist())
        last = None if self._chosen is None else int(self._chosen.max(initial=-1))
        count = 0
        with running(self._arguments("-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "pipe:1")) as program:
            for picture in _pictures(program.output):
                if wanted is None or count in wanted:
                    yield count * self.every, picture
                count += 1
                if count - 1 == last:
                    return
            program.finish()
            complaint = program.complaint()
        if not count:
            raise self._empty(complaint)
        if "known" not in self.__dict__ and complaint:
            warnings.warn(self._damage(count, complaint), stacklevel=2)
        elif "known" in self.__dict__ and count < len(self.known.seconds):
            raise DataError(
                f"{self.path}: {count} of {len(self.known.seconds)} frames could be read ({complaint or 'no reason'}). "
                "It may have changed meanwhile: begin again."
            )

    @cached_property
    def known(self) -> Frames:
        """What reading all frames shows.

        Raises:
            DataError: there is no frame.
        """
        stamps, duration = array("q"), 0
        size, tick = (0, 0), Fraction(1, 25)
        # One line for each frame: stream, dts, pts, duration, bytes and a checksum.
        arguments = self._arguments("-enc_time_base", "demux", "-f", "framecrc", "pipe:1")
        with steps(f"counting the frames of {self.path}", None, "frames") as work, running(arguments) as program:
            for line in program.output:
                if line.startswith(b"#"):
                    name, _, value = line.decode().partition(": ")
                    tick = Fraction(value.strip()) if name == "#tb 0" else tick
                    size = _size(value) if name == "#dimensions 0" else size
                    continue
                _, _, stamp, length, *_ = line.split(b",")
                expected = stamps[-1] + duration if stamps else 0
                stamps.append(int(stamp) if stamp.strip().lstrip(b"-").isdigit() else expected)
                duration = int(length)
                work.advance(len(stamps))
            program.finish()
            complaint = program.complaint()
        if not stamps:
            raise self._empty(complaint)
        ticks = np.array(stamps, dtype=np.int64)
        return Frames(
            size=size,
            seconds=(ticks - ticks[0]) * float(tick),
            rate=_rate((len(ticks) - 1) * self.every, int(ticks[-1] - ticks[0]), duration, tick) / self.every,
            damage=self._damage(len(ticks), complaint) if complaint else "",
        )

    @property
    def _positions(self) -> NDArray[np.int64]:
        return np.arange(len(self.known.seconds)) if self._chosen is None else self._chosen

    def _arguments(self, *output: str) -> list[str]:
        """Returns what ffmpeg is called with; the same for counting and reading, so that both see the same frames."""
        # "file:" because a name may have a colon in it; V because the picture on a cover is no video; passthrough
        # because frames that are shown longer would be repeated.
        chosen = ["-vf", f"select=not(mod(n\\,{self.every}))"] if self.every > 1 else []
        source = ["-protocol_whitelist", "file", "-i", f"file:{self.path}", "-map", "0:V:0"]
        return [*source, *chosen, "-fps_mode", "passthrough", *output]

    def _empty(self, complaint: str) -> MapoptError:
        if "Unrecognized option" in complaint or "time base" in complaint:
            return ConfigError(
                f"{self.path}: the ffmpeg here is too old to read it ({complaint}). Expected 6.1 or later: "
                "pip install --upgrade 'mapopt[video]'"
            )
        reason = "it holds no video" if not complaint or "matches no streams" in complaint else complaint
        return DataError(f"{self.path}: no frame can be read ({reason}). It may be damaged or cut off: replace it.")

    def _damage(self, count: int, complaint: str) -> str:
        return f"{self.path}: may be damaged ({complaint}); {count} frames could be read"


def find_sources(paths: Sequence[str | Path], *, every: int = 1) -> list[Path | Video]:
    """Returns the images and videos among paths, folders replaced by what is in them, in the order of their names.

    Args:
        paths: files and folders.
        every: take every so many frames of a video.

    Raises:
        DataError: a path does not exist, or a folder holds no image and no video.
        ConfigError: there is a video and the extra `video` is not installed, or `every` is below 1.
    """
    files = find_images(paths, videos=True)
    return [Video(path, every=every) if is_video_name(path) else path for path in files]


def check_used(every: int, sources: Sequence[object]) -> None:
    """Says whether there is a video to take every n-th frame of.

    Raises:
        ConfigError: there is none, or n is below 1.
    """
    _check_every(every)
    if every != 1 and not any(isinstance(source, Video) for source in sources):
        raise ConfigError(f"every is {every}, and there is no video among the images: leave it out")


def count_pictures(sources: Sequence[object]) -> int:
    """Returns how many images and frames there are."""
    return sum(len(source) if isinstance(source, Video) else 1 for source in sources)


def select_pictures(sources: Sequence[Path | Video], positions: NDArray[np.int64]) -> list[Path | Video]:
    """Returns only some of the images and frames, by ascending positions among all of them."""
    chosen: list[Path | Video] = []
    start = 0
    for source in sources:
        end = start + (len(source) if isinstance(source, Video) else 1)
        inside = positions[np.searchsorted(positions, start) : np.searchsorted(positions, end)] - start
        if len(inside):
            chosen.append(source.select(inside) if isinstance(source, Video) else source)
        start = end
    return chosen


def _check_every(every: int) -> None:
    if every < 1:
        raise ConfigError(f"every is {every}: expected 1 for every frame of a video, or more for every so many")


def _pictures(stream: IO[bytes]) -> Iterator[Image.Image]:
    """Yields images in the format PPM, which stand one behind the other; what is cut off is left out."""
    while stream.readline() == b"P6\n":
        width, height = _size(stream.readline())
        stream.readline()
        pixels = stream.read(3 * width * height)
        if len(pixels) < 3 * width * height:
            return
        yield Image.frombytes("RGB", (width, height), pixels)


def _size(text: str | bytes) -> tuple[int, int]:
    """Returns width and height, which a space or an x stands between."""
    width, height = (text if isinstance(text, str) else text.decode()).replace("x", " ").split()
    return int(width), int(height)


def _rate(steps: int, length: int, duration: int, tick: Fraction) -> Fraction:
    """Returns the frames a second: the one that cameras have where the times, which are rounded to ticks, allow it.

    Args:
        steps: from a frame to the next, from the first to the last.
        length: ticks from the first to the last.
        duration: ticks that the last is shown.
        tick: in seconds.
    """
    if steps < 1 or length < 1:
        return 1 / (duration * tick) if duration > 0 else Fraction(25)
    exact = Fraction(steps, length) / tick
    slowest, fastest = (
        Fraction(steps) / (span * tick) for span in (Fraction(length + 1), max(Fraction(length - 1), Fraction(1, 2)))
    )
    for rate in (Fraction(round(exact)), Fraction(round(exact * 1001 / 1000) * 1000, 1001)):
        if slowest <= rate <= fastest:
            return rate
    return exact.limit_denominator(1001)
