"""`mapopt predict`: finds objects in any images and videos, writes them as COCO results, and draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError, DataError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import text_file
from mapopt.output import Output
from mapopt.passes import steps
from mapopt.postprocessing.options import PostProcessingOptions
from mapopt.training.run_files import checkpoint_path

if TYPE_CHECKING:
    from mapopt.data.annotations import Annotations
    from mapopt.data.results import ResultNames
    from mapopt.metrics import Detections


@dataclass(frozen=True, kw_only=True)
class Predict(PostProcessingOptions, Command):
    """Find objects in images and videos, and draw them.

    The output folder gets results.json (COCO results: every box the detector reports), images.json (the images and
    categories that its ids mean) and pictures with the boxes of at least --score drawn on them. Without --truth, image
    ids count from 1 in the order of the files, and category ids in the detector's; every entry says its file_name and
    category_name beside them, by which evaluate finds its image and category in any ground truth.

    Every frame of a video is an image of its own, called clip.mp4#12, with its frame, counted from 0, and its seconds
    from the first one beside the name. In place of a picture for each there is a video in MP4, without sound, unless
    --sample draws some of the frames. Videos need the extra 'video': pip install "mapopt[video]".
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt predict --checkpoint runs/cells --images picture.jpg --out boxes",
        "mapopt predict --checkpoint runs/cells/best.pt --images pictures --sample 20 --score 0.5",
        "mapopt predict --checkpoint runs/cells --images pictures --nms-iou 0.5 --soft-nms-sigma 0 --flip",
        "mapopt predict --checkpoint runs/cells --images clip.mp4 --every 5 --out clip",
    )

    checkpoint: Path
    """best.pt of a training run, or the run's folder."""
    detector: str | None = None
    """module:attribute of the checkpoint's detector, if it is one of your own; a file alone imports nothing."""
    images: tuple[Path, ...]
    """Image and video files, or folders of them."""
    every: int = 1
    """Look at every so many frames of a video, from the first on; the drawn video has as many fewer a second."""
    truth: Path | None = None
    """COCO file of these images: the results get its image ids, by file name, and its category ids, by name."""
    sample: int = 0
    """Only so many of the images and frames, drawn by --seed; 0 takes all."""
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
        output = Output(self.out, ("results.json", "images.json", "pictures/*.jpg", "pictures/*.mp4"))
        with output.writing(overwrite=self.overwrite):
            self._predict(output)

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        if not (self.out / "results.json").is_file():
            return super().kept()
        return f"Every file in {self.out} is complete; pictures may be missing."

    def _predict(self, output: Output) -> None:
        """Does so, in a folder that nobody else writes to."""
        checkpoint = checkpoint_path(self.checkpoint)
        from mapopt.data.settings import draw_sample
        from mapopt.data.videos import Video, check_used, count_pictures, find_sources, select_pictures

        sources = find_sources(self.images, every=self.every)
        check_used(self.every, sources)
        if self.sample:
            sources = select_pictures(sources, draw_sample(count_pictures(sources), self.sample, self.seed))
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.data.pictures import PictureSet
        from mapopt.data.results import ResultNames, results_file
        from mapopt.drawing.predictions import draw_predictions
        from mapopt.training.trained_detector import TrainedDetector

        device = choose_device(self.device, threads=self.threads)
        detector = TrainedDetector(checkpoint, device, detector=self.detector)
        pictures = PictureSet(sources, bits=detector.bits)
        options = PostProcessingOptions(**{name: getattr(self, name) for name in self.chosen})
        detector.choose(options)  # what is wrong with them is said before it works for minutes
        notes = pictures.notes(detector.categories)
        image_ids, category_ids = _ids(notes, self.truth)
        frames, seconds = pictures.moments()
        names = ResultNames(
            image_ids=image_ids,
            category_ids=category_ids,
            file_names=notes.file_names,
            category_names=notes.category_names,
            frames=frames,
            seconds=seconds,
        )
        if self.overwrite:
            output.clear_unfinished()
        for source in sources:
            if isinstance(source, Video) and source.known.damage:
                print(source.known.damage, flush=True)

        path, boxes, done, drawn = self.out / "results.json", 0, 0, []
        with results_file(path, names) as add, steps("detecting in", len(notes), "images") as work:
            for count, part in detector.detect_parts(pictures, options):
                add(part)
                drawn.append(_above(part, self.score))
                boxes, done = boxes + len(part), done + count
                work.advance(done)
            if self.overwrite:
                output.clear_written()
        _write_index(self.out / "images.json", notes, names)
        kept = _joined(drawn)
        draw_predictions(
            sources,
            kept,
            self.out / "pictures",
            categories=detector.categories,
            bits=detector.bits,
            frames_as_pictures=self.sample > 0,
        )
        print(
            f"{_counted(frames)}: {boxes} boxes in {path}, "
            f"{len(kept)} of at least {self.score} drawn in {self.out / 'pictures'}"
        )


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


def _write_index(path: Path, notes: Annotations, names: ResultNames) -> None:
    """Writes which images and categories the ids mean, an image a line."""
    columns = (np.asarray(names.image_ids).tolist(), notes.file_names, notes.widths.tolist(), notes.heights.tolist())
    keys = ("id", "file_name", "width", "height")
    category_ids = np.asarray(names.category_ids).tolist()
    categories = [{"id": number, "name": name} for number, name in zip(category_ids, notes.category_names, strict=True)]
    with text_file(path) as write:
        write('{"images": [')
        for position, row in enumerate(zip(*columns, strict=True)):
            entry = {**dict(zip(keys, row, strict=True)), **names.moment(position)}
            write((",\n" if position else "\n") + json.dumps(entry))
        write(f'\n], "categories": {json.dumps(categories)}}}\n')


def _above(detections: Detections, score: float) -> Detections:
    """Returns the boxes with at least a score."""
    from mapopt.metrics import Detections

    kept = detections.scores >= score
    return Detections(
        detections.boxes[kept], detections.scores[kept], detections.labels[kept], detections.image_ids[kept]
    )


def _joined(parts: Sequence[Detections]) -> Detections:
    from mapopt.metrics import Detections

    columns = zip(*((part.boxes, part.scores, part.labels, part.image_ids) for part in parts), strict=True)
    return Detections(*(np.concatenate(column) for column in columns))


def _counted(frames: NDArray[np.int64]) -> str:
    """Says how many images there are, and how many of them are frames of videos."""
    count = int((frames >= 0).sum())
    if not count:
        return f"{len(frames)} images"
    return f"{len(frames) - count} images and {count} frames" if count < len(frames) else f"{count} frames"
