"""Reads and writes COCO results: a JSON list with one entry for every box that a detector reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.data.files import read_json
from mapopt.errors import DataError
from mapopt.files import text_file
from mapopt.metrics import Detections

FILE_NAME, CATEGORY_NAME = "file_name", "category_name"
"""Keys of the names behind an entry's ids, where it says them."""

FRAME, SECONDS = "frame", "seconds"
"""Keys of a frame's number in its video, from 0, and of when it is shown."""

_TOGETHER = 10_000
"""Entries in memory at once while they are written."""


def read_results(path: str | Path) -> Detections:
    """Returns the boxes of a results file, with its own ids.

    Raises:
        DataError: the file cannot be read, or an entry is wrong; the message names it.
    """
    entries = read_json(path)
    try:
        return Detections.from_coco(entries)
    except DataError as error:
        # What has no file is called by what it is.
        raise DataError(f"{path}: {str(error).removeprefix('COCO results: ')}") from None


def write_results(
    path: str | Path,
    detections: Detections,
    *,
    image_ids: ArrayLike,
    category_ids: ArrayLike,
    file_names: Sequence[str] = (),
    category_names: Sequence[str] = (),
) -> None:
    """Writes a results file.

    Args:
        path: the file.
        detections: boxes whose images and labels are positions.
        image_ids: the id of each image.
        category_ids: the id of each category.
        file_names: the name of each image, for entries that say it; COCO's tools pass over it.
        category_names: the name of each category, likewise.

    Raises:
        StoreError: the file cannot be written.
    """
    names = ResultNames(
        image_ids=image_ids, category_ids=category_ids, file_names=file_names, category_names=category_names
    )
    with results_file(path, names) as add:
        add(detections)


@dataclass(frozen=True, kw_only=True)
class ResultNames:
    """What the positions of images and categories are called in a results file.

    Attributes:
        image_ids: the id of each image.
        category_ids: the id of each category.
        file_names: the name of each image; empty for entries without.
        category_names: the name of each category; empty for entries without.
        frames: int64 ``[I]``, the number of each image in its video, -1 for what is no frame; None for entries without.
        seconds: float64 ``[I]``, when each frame is shown; of no meaning for what is none.
    """

    image_ids: ArrayLike
    category_ids: ArrayLike
    file_names: Sequence[str] = ()
    category_names: Sequence[str] = ()
    frames: NDArray[np.int64] | None = None
    seconds: NDArray[np.float64] | None = None

    def lines(self, detections: Detections) -> Iterator[str]:
        """Yields an entry for every box."""
        corners, extents = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
        columns = {
            "image_id": np.asarray(self.image_ids)[detections.image_ids].tolist(),
            "category_id": np.asarray(self.category_ids)[detections.labels].tolist(),
            "bbox": np.concatenate([corners, extents], axis=1).tolist(),
            "score": detections.scores.tolist(),
        }
        if self.file_names:
            columns[FILE_NAME] = [self.file_names[position] for position in detections.image_ids]
        if self.category_names:
            columns[CATEGORY_NAME] = [self.category_names[position] for position in detections.labels]
        for position, row in zip(detections.image_ids.tolist(), zip(*columns.values(), strict=True), strict=True):
            yield json.dumps({**dict(zip(columns, row, strict=True)), **self.moment(position)})

    def moment(self, position: int) -> dict[str, float]:
        """Returns the frame and the seconds of an image by key; nothing where it is no frame."""
        if self.frames is None or self.seconds is None or self.frames[position] < 0:
            return {}
        return {FRAME: int(self.frames[position]), SECONDS: round(float(self.seconds[position]), 6)}


@contextmanager
def results_file(path: str | Path, names: ResultNames) -> Iterator[Callable[[Detections], None]]:
    """Writes a results file part by part, so that only one part is in memory.

    The block gets a function that adds boxes, whose images and labels are positions; the file is there when it ends.

    Raises:
        StoreError: the file cannot be written; nothing is left behind.
    """
    with text_file(path) as write:
        before = "[\n"

        def add(detections: Detections) -> None:
            nonlocal before
            lines = names.lines(detections)
            while some := list(islice(lines, _TOGETHER)):
                write(before + ",\n".join(some))
                before = ",\n"

        yield add
        write("\n]\n" if before == ",\n" else "[\n\n]\n")
