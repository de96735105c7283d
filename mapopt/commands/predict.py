"""`mapopt predict`: finds objects in any images, writes them as COCO results, and draws them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError, DataError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes, write_json
from mapopt.output import Output
from mapopt.postprocessing.options import PostProcessingOptions
from mapopt.training.run_files import checkpoint_path

if TYPE_CHECKING:
    from mapopt.data.annotations import Annotations
    from mapopt.data.pictures import PictureSet
    from mapopt.metrics import Detections


@dataclass(frozen=True, kw_only=True)
class Predict(PostProcessingOptions, Command):
    """Find objects in images, and draw them.

    The output folder gets results.json (COCO results: every box the detector reports), images.json (the images and
    categories that its ids mean) and pictures with the boxes of at least --score drawn on them. Without --truth, image
    ids count from 1 in the order of the files, and category ids in the detector's; every entry says its file_name and
    category_name beside them, by which evaluate finds its image and category in any ground truth.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt predict --checkpoint runs/cells --images picture.jpg --out boxes",
        "mapopt predict --checkpoint runs/cells/best.pt --images pictures --sample 20 --score 0.5",
        "mapopt predict --checkpoint runs/cells --images pictures --nms-iou 0.5 --soft-nms-sigma 0 --flip",
    )

    checkpoint: Path
    """best.pt of a training run, or the run's folder."""
    detector: str | None = None
    """module:attribute of the checkpoint's detector, if it is one of your own; a file alone imports nothing."""
    images: tuple[Path, ...]
    """Image files, or folders of them."""
    truth: Path | None = None
    """COCO file of these images: the results get its image ids, by file name, and its category ids, by name."""
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
        check_device(self.device, threads=self.threads)
        output = Output(self.out, ("results.json", "images.json", "pictures/*.jpg"))
        with output.writing(overwrite=self.overwrite):
            self._predict(output)

    def _predict(self, output: Output) -> None:
        """Does so, in a folder that nobody else writes to."""
        checkpoint = checkpoint_path(self.checkpoint)
        from mapopt.data.image_files import find_images
        from mapopt.data.settings import draw_sample

        paths = find_images(self.images)
        paths = [paths[position] for position in draw_sample(len(paths), self.sample, self.seed)]
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.data.pictures import PictureSet
        from mapopt.data.results import write_results
        from mapopt.training.trained_detector import TrainedDetector

        device = choose_device(self.device, threads=self.threads)
        detector = TrainedDetector(checkpoint, device, detector=self.detector)
        pictures = PictureSet(paths, bits=detector.bits)
        options = PostProcessingOptions(**{name: getattr(self, name) for name in self.chosen})
        detector.choose(options)  # what is wrong with them is said before it works for minutes
        notes = pictures.notes(detector.categories)
        image_ids, category_ids = _ids(notes, self.truth)
        detections = detector.detect_pictures(pictures, options)

        if self.overwrite:
            output.clear()
        path = self.out / "results.json"
        write_results(
            path,
            detections,
            image_ids=image_ids,
            category_ids=category_ids,
            file_names=notes.file_names,
            category_names=notes.category_names,
        )
        write_json(self.out / "images.json", _index(notes, image_ids.tolist(), category_ids.tolist()))
        names = list(_picture_names(paths))
        drawn = _draw(pictures, names, detections, categories=detector.categories, score=self.score, out=self.out)
        print(
            f"{len(paths)} images: {len(detections)} boxes in {path}, "
            f"{drawn} of at least {self.score} drawn in {self.out / 'pictures'}"
        )


def _draw(
    pictures: PictureSet,
    names: Sequence[str],
    detections: Detections,
    *,
    categories: tuple[str, ...],
    score: float,
    out: Path,
) -> int:
    """Writes the pictures; returns the number of boxes on them."""
    from mapopt.drawing.boxes import draw_boxes

    folder = out / "pictures"
    order = np.lexsort((-detections.scores, detections.image_ids))
    kept = order[detections.scores[order] >= score]
    for position, name in enumerate(names):
        rows = kept[detections.image_ids[kept] == position]
        boxes, labels, scores = detections.boxes[rows], detections.labels[rows], detections.scores[rows]
        content = io.BytesIO()
        draw_boxes(pictures.rgb(position), boxes, labels, scores, categories).save(content, "JPEG", quality=92)
        write_bytes(folder / name, content.getvalue())
    return len(kept)


def _ids(notes: Annotations, path: Path | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the ids of images and categories: those of a COCO file, or their own.

    Raises:
        DataError: an image or a category is not in the file.
    """
    if path is None:
        return notes.image_ids, notes.category_ids
    from mapopt.evaluation.ground_truth import read_ground_truth
    from mapopt.evaluation.names import match_file_names

    truth = read_ground_truth(path)
    images = match_file_names(notes.file_names, truth.file_names)
    known = list(truth.category_names)
    categories = [known.index(name) if name in known else -1 for name in notes.category_names]
    for kind, places, names in (("image", images, notes.file_names), ("category", categories, notes.category_names)):
        if -1 in places:
            raise DataError(
                f"{path}: does not list {kind} '{names[places.index(-1)]}'. Expected the file of these images and of "
                "the detector's categories; leave --truth out for ids that count from 1."
            )
    return truth.image_ids[images], truth.category_ids[categories]


def _index(notes: Annotations, image_ids: list[Any], category_ids: list[Any]) -> dict[str, list[dict[str, object]]]:
    columns = (image_ids, notes.file_names, notes.widths.tolist(), notes.heights.tolist())
    keys = ("id", "file_name", "width", "height")
    return {
        "images": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        "categories": [
            {"id": number, "name": name} for number, name in zip(category_ids, notes.category_names, strict=True)
        ],
    }


def _picture_names(paths: Sequence[Path]) -> Iterator[str]:
    """Yields a file name for each picture; those that share theirs get a number."""
    used: set[str] = set()
    for number, path in enumerate(paths):
        # Room for the number and the ending, in bytes, which are what a file system counts.
        stem = os.fsdecode(os.fsencode(path.stem)[:200])
        name = stem if stem not in used else f"{stem}-{number}"
        used.add(name)
        yield f"{name}.jpg"
