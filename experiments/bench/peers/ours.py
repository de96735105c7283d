"""Our own evaluator behind the interface of the others, in all the ways it can be called."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mapopt.experiments.bench.peers.average_precision import Peer
from mapopt.experiments.bench.peers.sets import BoxSet
from mapopt.metrics import Detections, GroundTruth, evaluate, evaluate_lanes
from mapopt.metrics.analysis.bootstrap import bootstrap
from mapopt.metrics.engines import Backend
from mapopt.metrics.evaluator import Mode


def ours(backend: Backend, mode: Mode = "full") -> Peer:
    """Returns our own evaluator with a backend and a mode; see `mapopt.metrics.evaluate`."""
    name = "mapopt" if mode == "full" else f"mapopt, {mode}"
    return Peer(
        f"{name} ({backend})",
        "mapopt",
        ("mapopt",) if backend == "auto" else ("mapopt", backend),
        our_boxes,
        partial(_evaluate, backend=backend, mode=mode),
        whole=mode == "full",
    )


def our_lanes(backend: Backend, lanes: int, mode: Mode = "full") -> Peer:
    """Returns our own evaluator, which evaluates several detectors in a call."""
    name = "mapopt" if mode == "full" else f"mapopt, {mode}"
    return Peer(
        f"{name} ({backend}), each of {lanes} lanes",
        "mapopt",
        ("mapopt", backend),
        partial(_our_lanes, lanes=lanes),
        partial(_evaluate_lanes, backend=backend, mode=mode),
        evaluations=lanes,
        whole=False,
    )


def our_bootstrap(backend: Backend, resamples: int) -> Peer:
    """Returns our own bootstrap, which counts one matching again for every resample; it gives AP, AP50 and AP75."""
    return Peer(
        f"mapopt, bootstrap ({backend}), each of {resamples} resamples",
        "mapopt",
        ("mapopt", backend),
        our_boxes,
        partial(_resample, backend=backend, resamples=resamples),
        evaluations=resamples,
        whole=False,
    )


def our_boxes(boxes: BoxSet) -> tuple[GroundTruth, Detections]:
    """Returns what our own evaluator takes."""
    truth = GroundTruth(
        boxes.truth_boxes,
        boxes.truth_labels,
        boxes.truth_image_ids,
        crowd=boxes.truth_crowd,
        images=boxes.images,
        categories=boxes.categories,
    )
    return truth, Detections(boxes.boxes, boxes.scores, boxes.labels, boxes.image_ids)


def _our_lanes(boxes: BoxSet, lanes: int) -> tuple[GroundTruth, list[Detections]]:
    truth, first = our_boxes(boxes)
    others = [Detections(boxes.boxes, boxes.scores, boxes.labels, boxes.image_ids) for _ in range(lanes - 1)]
    return truth, [first, *others]


def _evaluate(pair: tuple[GroundTruth, Detections], backend: Backend, mode: Mode) -> NDArray[np.float64]:
    return evaluate(*pair, backend=backend, mode=mode).stats


def _evaluate_lanes(pair: tuple[GroundTruth, list[Detections]], backend: Backend, mode: Mode) -> NDArray[np.float64]:
    """Returns every number of the lane in which it is largest: all lanes are the same."""
    reports = evaluate_lanes(*pair, backend=backend, mode=mode)
    return np.max([report.stats for report in reports], axis=0)


def _resample(pair: tuple[GroundTruth, Detections], backend: Backend, resamples: int) -> NDArray[np.float64]:
    intervals = bootstrap(*pair, resamples=resamples, backend=backend)
    return np.append([intervals.ap.value, intervals.ap50.value, intervals.ap75.value], np.full(9, np.nan))
