"""Draws what was detected: a picture for every image, and a video for every video, one of them after the other."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mapopt.data.image_files import open_rgb
from mapopt.data.videos import Video, count_pictures
from mapopt.drawing.boxes import draw_boxes
from mapopt.drawing.video import mp4_file
from mapopt.files import write_bytes
from mapopt.metrics import Detections
from mapopt.passes import steps

_TOGETHER = 16
"""Pictures after which it is said how it goes: the first takes much longer than the others."""


def draw_predictions(
    sources: Sequence[Path | Video],
    detections: Detections,
    folder: Path,
    *,
    categories: Sequence[str],
    bits: int = 16,
    frames_as_pictures: bool = False,
) -> None:
    """Writes pictures as JPEG and videos as MP4, each called as what it shows.

    Args:
        sources: image files and videos; these have the size and, of the frames that are looked at, the rate of theirs.
        detections: boxes to draw; their images are positions among all images and frames.
        folder: where to.
        categories: what the labels of the boxes mean.
        bits: how many bits of files with 16 bits are in use.
        frames_as_pictures: draw every frame as a picture, and no video.

    Raises:
        StoreError: a file cannot be written.
        DataError: an image cannot be read any more.
    """
    order = np.lexsort((-detections.scores, detections.image_ids))
    total = count_pictures(sources)
    ends = np.searchsorted(detections.image_ids[order], np.arange(total + 1))
    names, position = _Names(), 0

    def drawn(image: Image.Image) -> Image.Image:
        nonlocal position
        rows = order[ends[position] : ends[position + 1]]
        position += 1
        if position % _TOGETHER == 0:
            work.advance(position)
        boxes, labels, scores = detections.boxes[rows], detections.labels[rows], detections.scores[rows]
        return draw_boxes(image, boxes, labels, scores, categories)

    with steps("drawing", total, "images") as work:
        for source in sources:
            if isinstance(source, Video) and not frames_as_pictures:
                name = names.new(source.path.stem, position, ".mp4")
                with mp4_file(folder / name, fps=source.known.rate) as add:
                    for _, frame in source.frames():
                        add(np.asarray(drawn(frame)))
                continue
            for stem, image in _images(source, bits):
                name = names.new(stem, position, ".jpg")
                content = io.BytesIO()
                drawn(image).save(content, "JPEG", quality=92)
                write_bytes(folder / name, content.getvalue())


def _images(source: Path | Video, bits: int) -> Iterator[tuple[str, Image.Image]]:
    """Yields an image or the frames of a video, each with what a picture of it is called."""
    if isinstance(source, Video):
        yield from ((f"{source.path.stem}-{number}", frame) for number, frame in source.frames())
    else:
        yield source.stem, open_rgb(source, bits=bits)


class _Names:
    """Names of files that were given out; who comes later with the same gets a number."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, stem: str, number: int, ending: str) -> str:
        """Returns a name of its own for a file."""
        # Room for the number and the ending, in bytes, which are what a file system counts.
        stem = os.fsdecode(os.fsencode(stem)[:200])
        name = stem + ending
        while name in self._given:
            name, number = f"{stem}-{number}{ending}", number + 1
        self._given.add(name)
        return name
