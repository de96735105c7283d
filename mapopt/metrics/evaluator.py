"""From boxes to AP, bit for bit as pycocotools computes it, and fast enough to be a reward.

Many detectors are evaluated in one call by treating their images and categories as more images and more categories, a
few detectors at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mapopt.errors import ConfigError, DataError
from mapopt.metrics.accumulation import Curves
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.engines import Backend, check_backend, curves_of
from mapopt.metrics.layout import lay_out
from mapopt.metrics.memory import keep_freed_memory
from mapopt.metrics.oracle import pycocotools_curves
from mapopt.metrics.pairs import check_pair, regardless_of_category
from mapopt.metrics.report import Report
from mapopt.metrics.settings import RECALLS, Settings

Mode = Literal["full", "reward"]

# Of lanes that are evaluated together: detections, and numbers in their precision curves.
_MAX_BLOCK_DETECTIONS = 1 << 15
_MAX_BLOCK_NUMBERS = 1 << 18


def evaluate(
    truth: GroundTruth,
    detections: Detections,
    *,
    iou_thresholds: ArrayLike | None = None,
    area_ranges: Mapping[str, tuple[float, float]] | None = None,
    max_detections: int | Sequence[int] | None = None,
    mode: Mode = "full",
    backend: Backend = "auto",
    use_categories: bool = True,
) -> Report:
    """Evaluates detections.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou_thresholds: ``[t]`` ascending, in (0, 1]; default .5, .55, ... .95.
        area_ranges: Names and limits in pixels squared; default COCO's all, small, medium and large.
        max_detections: Limits on detections per image and category: several, or one; default 1, 10 and 100.
        mode: "full" measures everything; "reward" the range "all" at the largest limit only, several times faster,
            with the same bits: AP, AP50, AP75, AR100 and AP per category.
        backend: "numpy"; "numba", compiled, the fastest after its first call; "auto", numpy until compiling pays;
            or "pycocotools", the slow original. All give the same bits.
        use_categories: False takes all categories for one, as ``useCats = 0`` does in pycocotools; limits on
            detections are then per image.

    Raises:
        ConfigError: If a threshold, range, limit, mode or backend makes no sense.
        DataError: If a detection lies in an image that the ground truth does not list, or something else is given than
            a `GroundTruth` and `Detections`.

    Reference: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, as pycocotools 2.0.11
        implements it. We differ in one place: AP is at the largest limit even where that is not 100 (there, -1).

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [1, 1])
    >>> evaluate(truth, Detections([[0, 0, 10, 10]], [0.9], [1], [1])).ar100
    0.5
    """
    check_pair(truth, detections)
    return evaluate_lanes(
        truth,
        [detections],
        iou_thresholds=iou_thresholds,
        area_ranges=area_ranges,
        max_detections=max_detections,
        mode=mode,
        backend=backend,
        use_categories=use_categories,
    )[0]


def evaluate_lanes(
    truth: GroundTruth | Sequence[GroundTruth],
    lanes: Sequence[Detections],
    *,
    iou_thresholds: ArrayLike | None = None,
    area_ranges: Mapping[str, tuple[float, float]] | None = None,
    max_detections: int | Sequence[int] | None = None,
    mode: Mode = "full",
    backend: Backend = "auto",
    use_categories: bool = True,
) -> list[Report]:
    """Evaluates several detectors at once, with the bits that `evaluate` gives for each alone.

    Args:
        truth: One ground truth for all lanes, or one for every lane.
        lanes: The detections of every lane.
        iou_thresholds: As in `evaluate`, like everything that follows.
        area_ranges: See `evaluate`.
        max_detections: See `evaluate`.
        mode: See `evaluate`.
        backend: See `evaluate`.
        use_categories: See `evaluate`.

    Raises:
        ConfigError: If the numbers of ground truths and lanes differ, and as in `evaluate`.
        DataError: As in `evaluate`.
    """
    settings = Settings.of(
        iou_thresholds=iou_thresholds, area_ranges=area_ranges, max_detections=max_detections, mode=mode
    )
    check_backend(backend)
    keep_freed_memory()
    if isinstance(lanes, Detections) or not isinstance(lanes, Sequence):
        raise DataError(f"lanes are of type {type(lanes).__name__}: expected a list of Detections, or call evaluate")
    truths = [truth] * len(lanes) if not isinstance(truth, Sequence) else list(truth)
    if len(truths) != len(lanes):
        raise ConfigError(
            f"{len(truths)} ground truths for {len(lanes)} lanes: give one for every lane, or one GroundTruth for all"
        )
    if not lanes:
        return []
    pairs = [check_pair(*pair) for pair in zip(truths, lanes, strict=True)]
    if not use_categories:
        pairs = [regardless_of_category(*pair) for pair in pairs]
    truths, lanes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if backend == "pycocotools":
        return [
            _report(pycocotools_curves(truth_of_lane, lane, settings), slice(None), truth_of_lane, settings)
            for truth_of_lane, lane in zip(truths, lanes, strict=True)
        ]
    reports: list[Report] = []
    for part in _parts(truths, lanes, settings):
        layout = lay_out(truths[part], lanes[part], limit=settings.max_detections[-1])
        curves = curves_of(layout, settings, backend)
        bounds = layout.class_starts.tolist()
        reports += [
            _report(curves, slice(first, last), truth_of_lane, settings)
            for first, last, truth_of_lane in zip(bounds[:-1], bounds[1:], truths[part], strict=True)
        ]
    return reports


def _parts(truths: Sequence[GroundTruth], lanes: Sequence[Detections], settings: Settings) -> Iterator[slice]:
    """Yields the lanes that are evaluated together: as many as the processor's caches hold, and one at least.

    Small lanes share what every step costs by being a step; large ones only push each other out of the caches.
    """
    per_class = len(settings.max_detections) * len(settings.area_names) * len(settings.iou_thresholds) * len(RECALLS)
    first = detections = numbers = 0
    for lane, (truth, boxes) in enumerate(zip(truths, lanes, strict=True)):
        detections += len(boxes)
        numbers += per_class * len(truth.categories)
        if lane > first and (detections > _MAX_BLOCK_DETECTIONS or numbers > _MAX_BLOCK_NUMBERS):
            yield slice(first, lane)
            first, detections, numbers = lane, len(boxes), per_class * len(truth.categories)
    yield slice(first, len(lanes))


def _report(curves: Curves, classes: slice, truth: GroundTruth, settings: Settings) -> Report:
    """Cuts one lane out of the curves and orders dimensions as pycocotools does; one lane alone is not copied."""
    precision, recall, scores = (
        np.ascontiguousarray(part[:, :, :, classes]) for part in (curves.precision, curves.recall, curves.scores)
    )
    return Report(
        precision=precision.transpose(2, 4, 3, 1, 0),
        recall=recall.transpose(2, 3, 1, 0),
        scores=scores.transpose(2, 4, 3, 1, 0),
        iou_thresholds=settings.iou_thresholds,
        categories=truth.categories,
        area_names=settings.area_names,
        max_detections=settings.max_detections,
    )
