"""Post-processing scored: settings go in, AP, F1 and LRP come out, thousands of times a second.

Everything that no setting changes (orders, overlaps among candidates, overlaps with the ground truth) is computed once
for a set of candidates. The numbers are those of `mapopt.postprocessing.suppress` followed by `mapopt.metrics.evaluate`
and `mapopt.metrics.f1_and_lrp`, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import load_kernels, why_missing
from mapopt.errors import ConfigError
from mapopt.metrics.accumulation import hits_needed
from mapopt.metrics.groups import corners_as_pycocotools
from mapopt.metrics.matching import tracks_up_to_level
from mapopt.metrics.settings import MAX_DETECTIONS, RECALLS, Settings
from mapopt.postprocessing.candidates import CandidateSet
from mapopt.postprocessing.settings import PostProcessingSettings, check_classes
from mapopt.postprocessing.suppression import FLOOR


@dataclass(frozen=True, eq=False, kw_only=True)
class PostProcessingScore:
    """How good the boxes are that settings report.

    Of F1 and LRP, both at IoU .5, there is no choice of a threshold left: they count all that is reported, so that
    every false alarm costs. Attributes per class are 0 in a class without ground truth.

    Attributes:
        ap: AP@[.5:.95], as `mapopt.metrics.evaluate` has it.
        f1: mean over classes of 2 TP / (2 TP + FP + FN), as `mapopt.metrics.f1_and_lrp` has it.
        lrp: mean over classes of the localization recall precision error, 0 perfect and 1 worst; likewise.
        class_ap: ``[k]`` AP.
        class_f1: ``[k]`` F1.
        precision: ``[k]`` TP / (TP + FP), 0 where nothing is reported.
        recall: ``[k]`` TP / (TP + FN).
        reported: ``[k]`` boxes.
    """

    ap: float
    f1: float
    lrp: float
    class_ap: NDArray[np.float64]
    class_f1: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    reported: NDArray[np.int64]


class Scorer:
    """Scores settings on one set of candidates.

    Args:
        candidates: the boxes, and the ground truth.

    Raises:
        ConfigError: numba cannot be loaded.
    """

    def __init__(self, candidates: CandidateSet) -> None:
        suppression = _kernels("suppression_kernels")
        settings = Settings.of(mode="reward")
        truth = candidates.truth.index
        self.classes, images = candidates.classes, len(candidates.truth.images)
        order = np.lexsort((-candidates.scores, candidates.images, candidates.labels))
        labels, places = candidates.labels[order], candidates.images[order]
        self._scores = candidates.scores[order].astype(np.float32)
        group = labels * images + places
        starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))[: len(group)]
        self._bounds = np.append(starts, len(group)).astype(np.int64)
        self._group_class = labels[starts]
        self._boxes = np.ascontiguousarray(candidates.boxes[order], np.float64)
        self._overlaps = suppression.overlap_lists(self._boxes, self._bounds)
        falling = -self._scores
        # By image: as hard suppression leaves them; for Soft-NMS, which changes scores, as equal ones are ordered.
        self._image_order = np.lexsort((falling, places)), np.argsort(places, kind="stable")
        self._image_bounds = np.searchsorted(places[self._image_order[0]], np.arange(images + 1))
        self._class_order = np.lexsort((places, falling, labels))
        self._class_bounds = np.searchsorted(labels, np.arange(self.classes + 1))

        corners, areas = corners_as_pycocotools(candidates.placed[order])
        levels = settings.matching_thresholds
        truth_start, truth_count = truth.span(places[starts] * self.classes + self._group_class)
        pairs = _kernels("truth_kernels").truth_lists(
            corners,
            areas,
            self._bounds,
            truth_start,
            truth_count,
            truth.corners,
            truth.box_area,
            truth.crowd,
            levels[0],
        )
        reached = tracks_up_to_level(len(levels), 1)[np.searchsorted(levels, pairs[2], side="right")]
        ignored = (truth.crowd | settings.outside(truth.area))[0]
        self._pairs = (*pairs, reached, ignored, np.ascontiguousarray(truth.crowd))
        self._inside = ~settings.outside(areas)[0]
        self.positives = np.bincount(truth.category[~ignored], minlength=self.classes)
        needed = hits_needed(self.positives)
        needed[self.positives == 0] = -1
        self._needed = needed
        self._defined = np.flatnonzero(self.positives)
        self._steps = len(levels)

        size, groups = len(group), len(starts)
        self._final, self._kept = np.zeros(size, np.float32), np.zeros(size, np.bool_)
        self._sequence, self._counts = np.zeros(size, np.int64), np.zeros(groups, np.int64)
        self._matched, self._correct = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        self._errors = np.zeros(size)
        self._curves = np.zeros((self._steps, len(RECALLS), len(self._defined)))
        self._tallies, self._misplaced = np.zeros((self.classes, 3), np.int64), np.zeros(self.classes)

    def score(self, settings: PostProcessingSettings) -> PostProcessingScore:
        """Post-processes with settings, and scores what is reported.

        Raises:
            ConfigError: the settings are for another number of classes.
        """
        check_classes(settings, self.classes)
        # Knobs reach detectors in single precision.
        sigma = float(np.float32(settings.soft_nms_sigma))
        # Looked up at each call: a module kept here could be neither copied nor pickled.
        suppression, scoring = _kernels("suppression_kernels"), _kernels("scorer_kernels")
        suppression.suppress_groups(
            self._boxes,
            self._scores,
            self._bounds,
            self._group_class,
            np.full(self.classes, np.float32(settings.nms_iou), np.float64),
            np.full(self.classes, sigma),
            np.array(settings.score_thresholds, np.float32),
            FLOOR,
            *self._overlaps,
            self._final,
            self._kept,
            self._sequence,
            self._counts,
        )
        scoring.apply_limits(
            self._bounds,
            self._group_class,
            np.array(settings.class_detections, np.int64),
            self._counts,
            self._sequence,
            self._image_bounds,
            self._image_order[sigma > 0],
            settings.detections,
            sigma > 0,
            self._final,
            self._kept,
        )
        scoring.match(
            self._bounds,
            self._counts,
            self._sequence,
            self._kept,
            *self._pairs,
            MAX_DETECTIONS[-1],
            self._matched,
            self._correct,
            self._errors,
        )
        scoring.count(
            self._class_bounds,
            self._class_order,
            sigma > 0,
            self._final,
            self._kept,
            self._inside,
            self._matched,
            self._correct,
            self._errors,
            self._needed,
            self._curves,
            self._tallies,
            self._misplaced,
        )
        return self._read()

    def scores_at(self, multiples: tuple[float, ...]) -> NDArray[np.float64]:
        """Returns ``[k, len(multiples)]``: a class's n-th best score, where n is so many times its ground truths."""
        scores = np.zeros((self.classes, len(multiples)))
        for k in range(self.classes):
            falling = self._scores[self._class_order[self._class_bounds[k] : self._class_bounds[k + 1]]]
            for column, multiple in enumerate(multiples):
                place = max(int(np.ceil(multiple * self.positives[k])), 1) - 1
                scores[k, column] = falling[place] if place < len(falling) else 0.0
        return scores

    def _read(self) -> PostProcessingScore:
        hits, counted, reported = self._tallies.T.copy()
        positives, defined = self.positives, self._defined
        total = counted + positives - hits
        f1 = 2 * hits / np.maximum(counted + positives, 1)
        lrp = (self._misplaced / 0.5 + (total - hits)) / np.maximum(total, 1)
        class_ap = np.zeros(self.classes)
        class_ap[defined] = self._curves.mean(axis=(0, 1))
        nothing = positives == 0
        f1[nothing] = 0.0
        return PostProcessingScore(
            ap=float(self._curves.reshape(-1).mean()),
            f1=float(f1[defined].mean()),
            lrp=float(lrp[defined].mean()),
            class_ap=class_ap,
            class_f1=f1,
            precision=np.where(nothing, 0.0, hits / np.maximum(counted, 1)),
            recall=hits / np.maximum(positives, 1),
            reported=reported,
        )


def _kernels(name: str) -> ModuleType:
    module = f"mapopt.postprocessing.{name}"
    kernels = load_kernels(module)
    if kernels is None:
        raise ConfigError(f"post-processing is scored by compiled code, which cannot be loaded ({why_missing(module)})")
    return kernels
