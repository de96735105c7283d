"""What the pictures in boxes look like: which class, or nothing; learned from the labels themselves, out of fold.

A detector that is trained in minutes finds objects and confuses classes. Which class a picture shows whose place is
given is an easier question, and a linear fit answers it within seconds. It learns from the pictures in the labels'
boxes, and from places of the same sizes where nothing is labeled; what it says of an image it learned from others.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.faults import limits_of
from mapopt.data.image_files import open_rgb
from mapopt.data.images import image_paths
from mapopt.data.truth import truth_by_position
from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.evaluation.label_audit.crop_features import CropFeatures, crop
from mapopt.evaluation.label_audit.evidence import SAME_PLACE, gather
from mapopt.evaluation.label_audit.folds import divide_into_folds, groups_by_name
from mapopt.evaluation.label_audit.trust import trust_of
from mapopt.metrics import Detections
from mapopt.metrics.overlaps import best_of_each, image_pairs
from mapopt.passes import steps

_FEWEST = 100
"""Labels below which nothing is learned from them."""
_FOLDS = 4
_TEACHERS = 40_000
"""Labels that are learned from at the most, those of some images."""
_SAMPLE = 2000
_CANDIDATES = 3
"""Detections that are looked at for each label, those that are without a label first."""
_TRIES = 10
_COVERED = 0.1
"""Fraction of a place, or of a box in it, that may be covered where nothing is labeled."""
_RIDGE = 0.3
"""Beside the mean square of a feature. Tuned on planted faults with seed 1; .03 is worse."""
_FLOOR = 1e-3


def appearance_of(
    annotations: Annotations, detections: Detections, *, alike: Iterable[tuple[int, int]] = (), seed: int = 0
) -> Appearance | None:
    """Returns what the pictures in boxes look like; None where the labels are too few to learn from.

    Args:
        annotations: ``N`` labels; file names lead to the images.
        detections: ``D`` boxes, images by position.
        alike: pairs of images of which neither may say anything of the other.
        seed: of the folds, of places without labels and of the features.

    Raises:
        DataError: an image is missing or damaged.
    """
    rows = np.flatnonzero(~annotations.crowd)
    groups = groups_by_name(annotations.file_names, alike)
    if len(rows) < _FEWEST or groups.max(initial=-1) + 1 < _FOLDS:
        return None
    fold = divide_into_folds(groups, _FOLDS, seed=seed)
    owner, empty = _empty_places(annotations, rows, np.random.default_rng([seed, 0xE397]))
    seen = _candidates(annotations, detections)
    boxes = np.concatenate([annotations.boxes, empty, detections.boxes[seen]])
    images = np.concatenate([annotations.images, owner, detections.image_ids[seen]])
    classes, objects = len(annotations.category_ids), len(annotations.ids)
    target = np.full(len(boxes), -1)
    target[rows] = annotations.labels[rows]
    target[objects : objects + len(empty)] = classes
    reader = _Reader(annotations, boxes, images, target)
    beliefs = reader.beliefs(fold, classes + 1, seed=seed)
    detection = np.zeros((len(detections), classes + 1), dtype=np.float32)
    detection[:, classes] = 1
    detection[seen] = beliefs[objects + len(empty) :]
    return Appearance(beliefs[:objects], detection, beliefs[objects : objects + len(empty)])


class _Reader:
    """Pictures in boxes, image by image: none is held, as there may be millions."""

    def __init__(
        self,
        annotations: Annotations,
        boxes: NDArray[np.float64],
        images: NDArray[np.int64],
        target: NDArray[np.int64],
    ) -> None:
        self._paths = image_paths(annotations)
        self._sizes = np.stack([annotations.widths, annotations.heights], axis=1)
        self._boxes, self._target = boxes, target
        order = np.argsort(images, kind="stable")
        self._rows = np.split(order, np.searchsorted(images[order], np.arange(1, len(annotations))))

    def beliefs(self, fold: NDArray[np.int64], columns: int, *, seed: int) -> NDArray[np.float32]:
        """Returns ``[boxes, columns]`` how likely each shows what, by a fit to the images of other folds."""
        order = np.random.default_rng([seed, 0x7EAC]).permutation(len(self._rows))
        taught = np.cumsum([(self._target[self._rows[image]] >= 0).sum() for image in order])
        teachers = order[: int(np.searchsorted(taught, 2 * _TEACHERS)) + 1]
        some = [self._look(image) for image in order[: int(np.searchsorted(taught, _SAMPLE)) + 1].tolist()]
        features = CropFeatures(
            np.concatenate([crops for crops, _ in some]), np.concatenate([sides for _, sides in some]), seed=seed
        )
        width = features.width
        squares = np.zeros((_FOLDS, width, width), dtype=np.float32)
        products = np.zeros((_FOLDS, width, columns), dtype=np.float32)
        beliefs = np.full((len(self._boxes), columns), _FLOOR, dtype=np.float32)
        with steps("looking at labels in", len(teachers) + len(self._rows), "images") as work:
            for done, image in enumerate(teachers.tolist(), start=1):
                rows = self._rows[image]
                teaching = self._target[rows] >= 0
                if teaching.any():
                    crops, sides = self._look(image)
                    values = features(crops[teaching], sides[teaching])
                    squares[fold[image]] += values.T @ values
                    products[fold[image]] += values.T @ np.eye(columns, dtype=np.float32)[self._target[rows][teaching]]
                work.advance(done)
            fits = [
                _fit(squares.sum(axis=0) - squares[number], products.sum(axis=0) - products[number])
                for number in range(_FOLDS)
            ]
            for image, rows in enumerate(self._rows):
                if len(rows):
                    beliefs[rows] += np.clip(features(*self._look(image)) @ fits[fold[image]], 0, 1)
                work.advance(len(teachers) + image + 1)
        normal: NDArray[np.float32] = beliefs / beliefs.sum(axis=1, keepdims=True)
        return normal

    def _look(self, image: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Returns the pictures in an image's boxes, and the boxes' sides as fractions of its longer one."""
        boxes, (width, height) = self._boxes[self._rows[image]], self._sizes[image].tolist()
        opened = open_rgb(self._paths[image], expected=(width, height))
        return crop(opened, boxes), (boxes[:, 2:] - boxes[:, :2]) / max(width, height)


def _fit(squares: NDArray[np.float32], products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the weights of a ridge regression."""
    ridge = _RIDGE * max(float(np.trace(squares)) / len(squares), 1e-6)
    weights: NDArray[np.float32] = np.linalg.solve(squares + ridge * np.eye(len(squares), dtype=np.float32), products)
    return weights


def _empty_places(
    annotations: Annotations, rows: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns images ``[M]`` and boxes ``[M, 4]`` with sizes of labels where nothing is labeled, one for each label."""
    limits = limits_of(annotations, np.arange(len(annotations)))
    parts = annotations.boxes[rows] / limits[annotations.images[rows]]
    sides = np.clip(parts[:, 2:] - parts[:, :2], 1e-6, 1)
    owner = np.sort(random.integers(0, len(annotations), len(rows)))
    corners = random.uniform(0, 1, (len(rows), _TRIES, 2)) * (1 - sides[:, None])
    places = np.concatenate([corners, corners + sides[:, None]], axis=2) * limits[owner][:, None]
    covered = np.zeros((len(rows), _TRIES))
    by_image = np.argsort(annotations.images, kind="stable")
    bounds = np.searchsorted(annotations.images[by_image], np.arange(len(annotations) + 1))
    for image in np.unique(owner).tolist():
        boxes, own = annotations.boxes[by_image[bounds[image] : bounds[image + 1]]], owner == image
        if len(boxes):
            covered[own] = _covered(places[own].reshape(-1, 4), boxes).reshape(-1, _TRIES)
    best = covered.argmin(axis=1)
    free = covered[np.arange(len(rows)), best] <= _COVERED
    return owner[free], places[np.arange(len(rows)), best][free]


def _covered(places: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns for each place the largest fraction of the smaller that it and a box have in common."""
    low = np.maximum(places[:, None, :2], boxes[None, :, :2])
    high = np.minimum(places[:, None, 2:], boxes[None, :, 2:])
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (places, boxes)]
    inner = np.clip(high - low, 0, None).prod(axis=2)
    fraction: NDArray[np.float64] = (inner / np.minimum(areas[0][:, None], areas[1][None])).max(axis=1)
    return fraction


def _candidates(annotations: Annotations, detections: Detections) -> NDArray[np.int64]:
    """Returns the detections that are looked at: the surest without a label, and the surest of each label."""
    if not len(detections):
        return np.zeros(0, dtype=np.int64)
    truth = truth_by_position(annotations)
    trust = trust_of(truth, detections)
    without = gather(truth, detections, trust, typical=0.75).unlabeled
    surest = np.argsort(-without, kind="stable")[: _CANDIDATES * len(annotations.ids)]
    pairs = image_pairs(truth, detections, minimum=SAME_PLACE)
    best = pairs.detection[best_of_each(pairs.truth, trust[pairs.detection])]
    return np.union1d(surest[without[surest] > 0], best)
