"""`mapopt evaluate`: COCO's twelve numbers with their intervals, and why they are what they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mapopt.commands.command import Command
from mapopt.data.invalid import Invalid
from mapopt.data.settings import SHAPES, DataSettings, draw_sample
from mapopt.data.shapes_config import ShapesConfig
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError
from mapopt.evaluation.findings import Comparison, Findings, Questions, compare, measure
from mapopt.evaluation.ground_truth import read_ground_truth
from mapopt.evaluation.inputs import (
    NamedGroundTruth,
    Predictions,
    Unknown,
    named_ground_truth,
    only_images_with_results,
    read_predictions,
    regardless_of_category,
)
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes, write_json
from mapopt.metrics.engines import Backend
from mapopt.metrics.settings import MAX_DETECTIONS
from mapopt.output import Output
from mapopt.postprocessing.options import PostProcessingOptions
from mapopt.training.run_files import checkpoint_path

if TYPE_CHECKING:
    from PIL import Image

    from mapopt.data.images import ImageSet
    from mapopt.evaluation.worst import WorstImage
    from mapopt.training.trained_detector import TrainedDetector


@dataclass(frozen=True, kw_only=True)
class Evaluate(PostProcessingOptions, DataSettings, Command):
    """Measure a trained detector, or a file of results, as COCO does, and say why it is not better.

    Give either --checkpoint, with --data or on the data that it was trained with, or --truth and --results: a COCO
    annotation file and the boxes of any detector. --compare sets another detector's results beside it. An --out folder
    gets report.json and figures, and for a checkpoint results.json.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt evaluate --checkpoint runs/cells --out report",
        "mapopt evaluate --truth instances_val2017.json --results results.json --compare before.json",
    )

    checkpoint: Path | None = None
    """best.pt of a training run, or the run's folder."""
    detector: str | None = None
    """module:attribute of the checkpoint's detector, if it is one of your own; a file alone imports nothing."""
    data: str | None = None  # type: ignore[assignment]
    """A folder of images with annotations, or "shapes"; by default the data that the checkpoint was trained with."""
    split: Literal["test", "val", "train"] = "test"  # type: ignore[assignment]
    """Which images of the data."""
    sample: int = 0
    """Only so many images of the split, drawn by --seed; 0 takes all."""
    threads: int = 1
    """Threads of the CPU. The same number as in training, one by default, gives the same numbers to the last bit."""
    truth: Path | None = None
    """COCO annotation file."""
    results: Path | None = None
    """COCO results file: a list of image_id, category_id, bbox and score."""
    invalid: Invalid | None = None  # type: ignore[assignment]
    """Boxes outside their image or without area: keep, as pycocotools does, which is the default of --truth; error,
    the default of --data; clip or drop."""
    compare: Path | None = None
    """Results of another detector for the same images: the differences get paired bootstrap intervals."""
    unknown: Unknown = "error"
    """Results of images or categories that the ground truth does not list: error, or drop them."""
    only_images_with_results: bool = False
    """Leave out the images in which nothing is detected."""
    max_detections: tuple[int, ...] = MAX_DETECTIONS
    """Limits on detections per image and category: recall is measured at each, everything else at the largest."""
    use_categories: bool = True
    """False takes all categories for one, as useCats = 0 of pycocotools does."""
    worst: int = 0
    """List so many of the images that cost most AP, and draw them into --out."""
    iou: float = 0.5
    """IoU threshold of everything but COCO's own numbers: thresholds, causes, confusions, calibration, VOC's AP."""
    resamples: int = 1000
    """Resamples of the images for intervals, drawn by --seed; 0 turns them off."""
    backend: Backend = "auto"
    """What counts COCO's numbers: auto, numpy, numba or pycocotools itself. All give the same bits."""
    figures: bool = True
    """Draw figures into --out."""
    out: Path | None = None
    """Folder for the report and the figures."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the report in the folder."""

    def run(self) -> None:
        """Measures and prints."""
        questions = Questions(
            iou=self.iou,
            resamples=self.resamples,
            seed=self.seed,
            backend=self.backend,
            max_detections=self.max_detections,
            worst=self.worst,
        )
        check_device(self.device, threads=self.threads)
        if self.out is None:
            self._measure(questions, None)
            return
        # In a folder of somebody's results, results.json is theirs.
        results = ["results.json"] if self.checkpoint else []
        output = Output(self.out, ["report.json", *(f"{name}.png" for name in FIGURES), "worst/*.jpg", *results])
        with output.writing(overwrite=self.overwrite):
            self._measure(questions, output)

    def _measure(self, questions: Questions, output: Output | None) -> None:
        """Measures, stores and prints."""
        given = self._read() if self.checkpoint is None else self._detect(self.checkpoint)
        truth, predictions, other = given.truth, given.predictions, given.other
        if self.only_images_with_results:
            truth = only_images_with_results(truth, predictions, *([] if other is None else [other]))
        if not self.use_categories:
            truth, together = regardless_of_category(truth, predictions, *([] if other is None else [other]))
            predictions, other = together[0], None if other is None else together[1]
        comparison = None if other is None else compare(truth, predictions, other, questions)
        findings = measure(truth, predictions, questions) if comparison is None else comparison.ours
        if output is not None:
            self._store(output, given, findings, comparison)
        from mapopt.evaluation.printed import describe

        print(describe(findings, comparison))
        if output is not None:
            print(f"\n see {output.folder / 'report.json'}")

    def _store(self, output: Output, given: _Given, findings: Findings, comparison: Comparison | None) -> None:
        """Writes everything, once there is everything."""
        from mapopt.data.results import write_results
        from mapopt.evaluation.document import as_document

        document, pictures = as_document(findings, comparison), {}
        if self.figures:
            # matplotlib takes longer to import than most evaluations take.
            from mapopt.drawing.evaluation_figures import draw_evaluation

            pictures = draw_evaluation(findings, comparison)
        if findings.worst:
            from mapopt.drawing.worst_images import draw_worst

            pictures |= draw_worst(findings, given.picture)
        if self.overwrite:
            output.clear()
        for name, content in pictures.items():
            write_bytes(output.folder / name, content)
        if self.checkpoint is not None:
            notes, detections = given.truth.notes, given.predictions.detections
            path = output.folder / "results.json"
            write_results(path, detections, image_ids=notes.image_ids, category_ids=notes.category_ids)
        write_json(output.folder / "report.json", document)

    def _read(self) -> _Given:
        """Reads files of results."""
        if self.truth is None or self.results is None:
            raise ConfigError("nothing to evaluate: give --checkpoint, or both --truth and --results")
        given = [
            name for name, value in (("data", None), ("split", "test"), ("sample", 0)) if getattr(self, name) != value
        ]
        for name in (*given, *(name.replace("_", "-") for name in self.chosen)):
            raise ConfigError(f"--{name} is given, but it says nothing about --truth and --results: leave it out")
        truth = named_ground_truth(read_ground_truth(self.truth, invalid=self.invalid or "keep"), name=str(self.truth))
        predictions = read_predictions(self.results, truth, unknown=self.unknown)
        other = None if self.compare is None else read_predictions(self.compare, truth, unknown=self.unknown)
        return _Given(truth=truth, predictions=predictions, other=other)

    def _detect(self, checkpoint: Path) -> _Given:
        """Runs a checkpoint's detector."""
        if self.truth is not None or self.results is not None:
            raise ConfigError("both --checkpoint and --truth or --results are given: evaluate one or the other")
        if self.data is None and self.scenes != ShapesConfig():
            raise ConfigError(f"--scenes is given without data: add --data {SHAPES}")
        path = checkpoint_path(checkpoint)
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.training.trained_detector import TrainedDetector

        device = choose_device(self.device, threads=self.threads)
        detector = TrainedDetector(path, device, detector=self.detector)
        options = PostProcessingOptions(**{name: getattr(self, name) for name in self.chosen})
        detector.choose(options)
        data = self._data(detector)
        images = detector.part(data, self.split, size=detector.frame(options))
        if self.sample:
            images = images.select(draw_sample(len(images), self.sample, self.seed))
        name = f"{data.data}, {self.split}"
        truth = named_ground_truth(images.annotations, name=name, by_position=True)
        # What is wrong with the other results is said before the detector works for minutes.
        other = None if self.compare is None else read_predictions(self.compare, truth, unknown=self.unknown)
        predictions = Predictions(name=name, detections=detector.detect_as(images, options))
        threshold = detector.checkpoint.snapshot.knobs.score_threshold
        if not len(predictions.detections) and threshold:
            print(
                f"no box scores {threshold:g}, the run's --knobs.score-threshold, so that AP is 0: a ranking loss sets "
                "no scale of scores"
            )
        return _Given(truth=truth, predictions=predictions, other=other, images=images)

    def _data(self, detector: TrainedDetector) -> DataSettings:
        """Returns the settings of the data: this command's own, or those that the checkpoint was trained with."""
        if self.data is None:
            return dataclasses.replace(detector.trained_with(), workers=self.workers)
        names = [field.name for field in dataclasses.fields(DataSettings)]
        given = {name: getattr(self, name) for name in names}
        stored = detector.checkpoint.settings
        # Here --split names a set; how the same data were divided is stored with the checkpoint.
        same = "data" in stored and Path(str(stored["data"])).resolve() == Path(self.data).resolve()
        given["split"] = detector.trained_with().split if same else None
        given |= {"bits": detector.bits if self.bits == 16 else self.bits, "invalid": self.invalid or "error"}
        return DataSettings(**given)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Given:
    """What is evaluated, before some images or categories are left out; and the pixels, of a checkpoint's data."""

    truth: NamedGroundTruth
    predictions: Predictions
    other: Predictions | None
    images: ImageSet | None = None

    def picture(self, image: WorstImage) -> Image.Image | None:
        """Returns an image's pixels, None where there is no such file."""
        root = self.truth.notes.root
        if root is not None and image.file_name and (root / image.file_name).is_file():
            from mapopt.data.image_files import open_rgb

            return open_rgb(root / image.file_name)
        if self.images is None:
            return None
        # A data set in memory is named by position, and so are its images in the metrics.
        from PIL import Image

        notes, position = self.images.annotations, image.image
        sides = (int(notes.widths[position]), int(notes.heights[position]))
        pixels = self.images.pixels[position].permute(1, 2, 0).numpy()
        height, width = (max(1, round(side * float(self.images.scale[position]))) for side in sides[::-1])
        return Image.fromarray(pixels[:height, :width]).resize(sides)


FIGURES = ("precision_recall", "categories", "f1", "confusion", "causes", "reliability", "comparison")
"""Files that are drawn, without their ending."""
