"""`mapopt predict`: finds objects in any images, writes them as COCO results, and draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from mapopt.commands.command import Command
from mapopt.data import Annotations, ImageSet
from mapopt.data.image_files import image_size, open_rgb
from mapopt.data.results import write_results
from mapopt.data.settings import draw_sample
from mapopt.devices import choose_device
from mapopt.drawing.boxes import draw_boxes
from mapopt.errors import ConfigError, DataError
from mapopt.files import write_json
from mapopt.metrics import Detections
from mapopt.output import Output
from mapopt.settings import NOT_A_SETTING
from mapopt.training.inference import LoadedDetector

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
"""What counts as an image in a folder."""

_TOGETHER = 256
"""Images in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Find objects in images, and draw them.

    The output folder gets results.json (COCO results: every box the detector reports), images.json (the images and
    categories that its ids mean) and pictures with the boxes of at least --score drawn on them.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt predict --checkpoint runs/cells/best.pt --images picture.jpg --out boxes",
        "mapopt predict --checkpoint runs/cells/best.pt --images pictures --sample 20 --score 0.5",
    )

    checkpoint: Path
    """best.pt of a training run."""
    images: tuple[Path, ...]
    """Image files, or folders of them."""
    sample: int = 0
    """Only so many of the images, drawn by --seed; 0 takes all."""
    score: float = 0.3
    """Draw boxes with at least this score."""
    threads: int = 1
    """Threads of the CPU."""
    out: Path = Path("runs/predict")
    """Folder for the results."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the results in the folder."""

    def run(self) -> None:
        """Detects, writes and draws."""
        if not 0 <= self.score <= 1:
            raise ConfigError(f"score is {self.score}: expected 0 to 1")
        output = Output(self.out, ("results.json", "images.json", "pictures/*.jpg"))
        output.check(overwrite=self.overwrite)
        detector = LoadedDetector(self.checkpoint, choose_device(self.device, threads=self.threads))
        paths = find_images(self.images)
        paths = [paths[position] for position in draw_sample(len(paths), self.sample, self.seed)]
        notes = _unlabeled(paths, detector.categories)
        found = _detect(detector, notes)

        if self.overwrite:
            output.clear()
        path = self.out / "results.json"
        write_results(path, found, image_ids=notes.image_ids, category_ids=notes.category_ids)
        write_json(self.out / "images.json", _index(notes))
        shown = self._draw(paths, found, detector.categories)
        print(
            f"{len(paths)} images: {len(found)} boxes in {path}, "
            f"{shown} of at least {self.score} drawn in {self.out / 'pictures'}"
        )

    def _draw(self, paths: list[Path], found: Detections, names: tuple[str, ...]) -> int:
        """Writes the pictures; returns the number of boxes on them."""
        folder = self.out / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        order = np.lexsort((-found.scores, found.image_ids))
        kept = order[found.scores[order] >= self.score]
        for position, (path, name) in enumerate(zip(paths, _picture_names(paths), strict=True)):
            mine = kept[found.image_ids[kept] == position]
            drawn = draw_boxes(open_rgb(path), found.boxes[mine], found.labels[mine], found.scores[mine], names)
            drawn.save(folder / name, quality=92)
        return len(kept)


def find_images(given: tuple[Path, ...]) -> list[Path]:
    """Returns the image files among paths, folders replaced by what is in them, in the order of their names.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    paths: list[Path] = []
    for one in given:
        if one.is_dir():
            inside = sorted(path for path in one.iterdir() if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{one}: holds no image ({', '.join(sorted(SUFFIXES))}). Give a folder that does.")
            paths += inside
        elif one.is_file():
            paths.append(one)
        else:
            raise DataError(f"{one}: no such image or folder. Check the path.")
    return list(dict.fromkeys(paths))


def _unlabeled(paths: list[Path], categories: tuple[str, ...]) -> Annotations:
    """Returns annotations without an object."""
    sizes = np.array([image_size(path) for path in paths])
    none = np.zeros(0, dtype=np.int64)
    return Annotations(
        image_ids=np.arange(1, len(paths) + 1),
        file_names=tuple(str(path) for path in paths),
        widths=sizes[:, 0],
        heights=sizes[:, 1],
        category_ids=np.arange(1, len(categories) + 1),
        category_names=categories,
        boxes=np.zeros((0, 4)),
        labels=none,
        images=none,
        crowd=none.astype(bool),
        area=none.astype(float),
        ids=none,
        root=Path(),
    )


def _detect(detector: LoadedDetector, notes: Annotations) -> Detections:
    parts = []
    for start in range(0, len(notes), _TOGETHER):
        some = np.arange(start, min(start + _TOGETHER, len(notes)))
        found = detector.detect(ImageSet.read(notes.select(some), size=detector.size))
        parts.append((found.boxes, found.scores, found.labels, found.image_ids + start))
    return Detections(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _index(notes: Annotations) -> dict[str, list[dict[str, object]]]:
    columns = (notes.image_ids.tolist(), notes.file_names, notes.widths.tolist(), notes.heights.tolist())
    keys = ("id", "file_name", "width", "height")
    return {
        "images": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(notes.category_ids.tolist(), notes.category_names, strict=True)
        ],
    }


def _picture_names(paths: list[Path]) -> Iterator[str]:
    """Yields a file name for each picture; those that share theirs get a number."""
    used: set[str] = set()
    for number, path in enumerate(paths):
        name = path.stem if path.stem not in used else f"{path.stem}-{number}"
        used.add(name)
        yield f"{name}.jpg"
