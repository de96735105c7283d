"""Measures a detector from all sides, and two detectors on the same images; nothing is printed or drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

import numpy as np

from mapopt.errors import ConfigError
from mapopt.evaluation.inputs import NamedGroundTruth, Predictions
from mapopt.evaluation.worst import WorstImage, worst_images
from mapopt.metrics import (
    Analysis,
    Calibration,
    Detections,
    Report,
    VOCAveragePrecision,
    analyze,
    evaluate,
    match,
    measure_calibration,
    voc_average_precision,
)
from mapopt.metrics.analysis.bootstrap import Bootstrap, BootstrapDifference, bootstrap, bootstrap_difference
from mapopt.metrics.analysis.large_vocabulary import fixed_average_precision, pooled_average_precision
from mapopt.metrics.engines import Backend, check_backend
from mapopt.metrics.settings import Settings

_BACKGROUND_IOU = 0.1
"""Below it nothing is analyzed: an IoU up to it counts as touching nothing."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked.

    Attributes:
        iou: IoU threshold of everything but COCO's numbers.
        resamples: Of the bootstrap; 0 for no intervals.
        seed: Of the bootstrap.
        backend: What counts COCO's numbers.
        max_detections: Limits on detections per image and category; the largest holds for everything.
        worst: How many of the images that cost most AP are looked for.

    Raises:
        ConfigError: a number makes no sense, or there is no such backend.
    """

    iou: float = 0.5
    resamples: int = 1000
    seed: int = 0
    backend: Backend = "auto"
    max_detections: int | Sequence[int] | None = None
    worst: int = 0

    def __post_init__(self) -> None:
        for name, whole in (("iou", False), ("resamples", True), ("seed", True), ("worst", True)):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, Integral if whole else Real):
                raise ConfigError(f"{name} is {given!r}: expected a {'whole ' if whole else ''}number")
        if not _BACKGROUND_IOU < self.iou < 1:
            raise ConfigError(f"iou is {self.iou}: expected a number above {_BACKGROUND_IOU} and below 1, such as 0.5")
        if self.resamples < 0:
            raise ConfigError(f"resamples is {self.resamples}: expected a number such as 1000, or 0 for no intervals")
        if self.resamples and self.seed < 0:
            raise ConfigError(f"seed is {self.seed}: expected a whole number from 0 up")
        check_backend(self.backend)
        if self.worst < 0:
            raise ConfigError(f"worst is {self.worst}: expected how many images to list, or 0 for none")
        limits = Settings.of(max_detections=self.max_detections).max_detections
        object.__setattr__(self, "max_detections", limits)

    @property
    def limit(self) -> int:
        """The largest limit on detections per image and category."""
        return Settings.of(max_detections=self.max_detections).max_detections[-1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """One detector.

    Attributes:
        truth: The annotated boxes.
        predictions: What the detector predicts.
        questions: What was asked.
        report: COCO's numbers.
        analysis: Everything at one IoU threshold.
        voc: Pascal VOC's AP by its two rules: 11-point, area.
        intervals: How far AP may be off; None where it was not asked for.
    """

    truth: NamedGroundTruth
    predictions: Predictions
    questions: Questions
    report: Report
    analysis: Analysis
    voc: tuple[VOCAveragePrecision, VOCAveragePrecision]
    intervals: Bootstrap | None

    @cached_property
    def calibration(self) -> Calibration | None:
        """How far scores are probabilities; None where they cannot be."""
        scores = self.predictions.detections.scores
        return self.analysis.calibration if ((scores >= 0) & (scores <= 1)).all() else None

    @cached_property
    def kept_calibration(self) -> Calibration | None:
        """The same for the detections that reach the pooled best F1's threshold; the others would not be used."""
        if self.calibration is None:
            return None
        detections = self.predictions.detections
        kept = detections.scores >= self.analysis.operating_points.pooled.best_f1.threshold[0]
        used = Detections(
            detections.boxes[kept], detections.scores[kept], detections.labels[kept], detections.image_ids[kept]
        )
        table = match(self.truth.boxes, used, iou_thresholds=[self.questions.iou], limit=self.questions.limit)
        return measure_calibration(self.truth.boxes, used, iou=self.questions.iou, table=table)

    @cached_property
    def ap_fixed(self) -> float:
        """AP with a limit per category over all images instead of one per image; -1 where undefined."""
        return fixed_average_precision(self.truth.boxes, self.predictions.detections)

    @cached_property
    def ap_pool(self) -> float:
        """AP of one ranking of all categories' detections; -1 where undefined."""
        return pooled_average_precision(self.truth.boxes, self.predictions.detections)

    @cached_property
    def without_detections(self) -> int:
        """How many images have no detection."""
        return len(self.truth.notes) - len(np.unique(self.predictions.detections.image_ids))

    @cached_property
    def worst(self) -> tuple[WorstImage, ...]:
        """The images that cost most AP, as many as were asked for."""
        if not self.questions.worst:
            return ()
        return worst_images(
            self.truth,
            self.predictions.detections,
            self.analysis.table,
            count=self.questions.worst,
            threshold=self.score_threshold,
            limit=self.questions.limit,
            backend=self.questions.backend,
        )

    @cached_property
    def score_threshold(self) -> float:
        """The one score threshold with the best F1, from which a detection would be used."""
        threshold = float(self.analysis.operating_points.pooled.best_f1.threshold[0])
        return threshold if np.isfinite(threshold) else -np.inf


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Two detectors on the same images.

    Attributes:
        ours: The first detector.
        other: The detector that it is compared with.
        difference: What ours has more than the other, with intervals; None where they were not asked for.
    """

    ours: Findings
    other: Findings
    difference: BootstrapDifference | None


def measure(
    truth: NamedGroundTruth, predictions: Predictions, questions: Questions, *, intervals: Bootstrap | None = None
) -> Findings:
    """Measures one detector.

    Args:
        truth: The annotated boxes.
        predictions: What the detector predicts.
        questions: What to measure.
        intervals: Where they are known already.
    """
    boxes, detections = truth.boxes, predictions.detections
    if intervals is None and questions.resamples:
        intervals = bootstrap(
            boxes, detections, resamples=questions.resamples, seed=questions.seed, limit=questions.limit
        )
    return Findings(
        truth=truth,
        predictions=predictions,
        questions=questions,
        report=evaluate(boxes, detections, max_detections=questions.max_detections, backend=questions.backend),
        analysis=analyze(boxes, detections, iou=questions.iou, limit=questions.limit),
        # Corners of this package bound a box; they do not name its last pixel.
        voc=(
            voc_average_precision(boxes, detections, rule="11-point", iou=questions.iou, inclusive=False),
            voc_average_precision(boxes, detections, rule="area", iou=questions.iou, inclusive=False),
        ),
        intervals=intervals,
    )


def compare(truth: NamedGroundTruth, ours: Predictions, other: Predictions, questions: Questions) -> Comparison:
    """Measures two detectors, and their difference on the same resamples of the images."""
    difference = None
    if questions.resamples:
        difference = bootstrap_difference(
            truth.boxes,
            other.detections,
            ours.detections,
            resamples=questions.resamples,
            seed=questions.seed,
            limit=questions.limit,
        )
    return Comparison(
        ours=measure(truth, ours, questions, intervals=None if difference is None else difference.second),
        other=measure(truth, other, questions, intervals=None if difference is None else difference.first),
        difference=difference,
    )


def fraction_worse(difference: BootstrapDifference) -> float:
    """Returns the fraction of resamples in which ours has the smaller AP; what is left are ties."""
    defined = difference.samples[~np.isnan(difference.samples)]
    return float((defined < 0).mean()) if len(defined) else float("nan")
