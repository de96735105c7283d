"""What every suspect costs: the AP that the same detections have once it is mended, less what they have now.

Only the categories that a mended label belongs to are evaluated again, many suspects at once. Where the mended box is
the detector's own, the detector would be held against itself; so it is taken to be off by as much as its right boxes
are from their labels: the mean over four quantiles of that IoU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.findings import Price
from mapopt.evaluation.label_audit.suspects import Suspect
from mapopt.metrics import Detections, GroundTruth, evaluate
from mapopt.metrics.evaluator import evaluate_lanes

_QUANTILES = (0.125, 0.375, 0.625, 0.875)
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class _Columns:
    """Labels of one set as plain columns, of which few are changed at a time."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    crowd: NDArray[np.bool_]


class Pricing:
    """Prices suspects of one set.

    Args:
        annotations: labels of all sets.
        detections: of all sets.
        chosen: bool ``[I]``, the images of the set.
        fits: ``[m]`` IoUs of right boxes with their labels, ascending; without any, boxes are taken as they are.
    """

    def __init__(
        self,
        annotations: Annotations,
        detections: Detections,
        chosen: NDArray[np.bool_],
        fits: NDArray[np.float64],
    ) -> None:
        self._detections, self._fits, self._classes = detections, fits, annotations.labels
        self._images = np.flatnonzero(chosen)
        self._count = len(annotations.category_ids)
        rows = np.flatnonzero(chosen[annotations.images])
        self._place = np.full(len(annotations.ids), -1)
        self._place[rows] = np.arange(len(rows))
        self._columns = _Columns(
            annotations.boxes[rows], annotations.labels[rows], annotations.images[rows], annotations.crowd[rows]
        )
        self._seen_here = _some(detections, chosen[detections.image_ids])
        self._before = self._by_category(self._columns)

    @property
    def ap(self) -> float:
        """AP of the detections against the labels as they are."""
        return _mean(self._before)

    def each(self, suspects: Sequence[Suspect]) -> list[float]:
        """Returns what AP gains when one suspect is mended and everything else stays, for each."""
        gains = []
        for start in range(0, len(suspects), _TOGETHER):
            some = suspects[start : start + _TOGETHER]
            lanes = [(number, *lane) for number, suspect in enumerate(some) for lane in self._lanes(suspect)]
            reports = evaluate_lanes([truth for _, _, truth, _ in lanes], [own for *_, own in lanes], mode="reward")
            sums, counts = np.zeros(len(some)), np.zeros(len(some))
            for (number, categories, _, _), report in zip(lanes, reports, strict=True):
                after = self._before.copy()
                after[categories] = list(report.per_category.values())
                sums[number] += _mean(after)
                counts[number] += 1
            gains += (sums / counts - self.ap).tolist()
        return gains

    def together(self, kind: str, part: str, suspects: Sequence[Suspect]) -> Price:
        """Returns what AP is expected to gain when these suspects are looked at and mended where they are wrong.

        Of suspects with a confidence of .8 four in five are mended: those at which the sum of the confidences passes a
        half. To follow the detector in all of them would promise what only its agreement with itself gives.
        """
        count = len(suspects)
        passed = np.floor(np.cumsum([each.confidence for each in suspects]) + 0.5)
        suspects = [each for each, now, then in zip(suspects, passed, [0.0, *passed[:-1]], strict=True) if now > then]
        fits = np.resize(np.array(_QUANTILES), len(suspects))
        columns = self._columns
        boxes = [self._box(suspect, quantile) for suspect, quantile in zip(suspects, fits.tolist(), strict=True)]
        mended = self._mended(columns, suspects, boxes)
        after = _mean(self._by_category(mended))
        return Price(kind=kind, part=part, findings=count, before=self.ap, after=after)

    def _lanes(self, suspect: Suspect) -> Iterator[tuple[list[int], GroundTruth, Detections]]:
        """Yields the categories that a mended label concerns, with their labels and detections."""
        labels = {int(self._classes[suspect.label])} if suspect.label >= 0 else set()
        if suspect.kind == "overlooked":
            labels.add(int(self._detections.labels[suspect.detection]))
        elif suspect.kind == "swapped_class":
            labels.add(suspect.category)
        categories = sorted(labels)
        result = _some(self._seen_here, np.isin(self._seen_here.labels, categories))
        own_box = suspect.kind in ("overlooked", "badly_placed")
        for quantile in _QUANTILES if own_box and len(self._fits) else _QUANTILES[:1]:
            mended = self._mended(self._columns, [suspect], [self._box(suspect, quantile)])
            rows = np.isin(mended.labels, categories)
            yield categories, self._truth(mended, rows, categories), result

    def _box(self, suspect: Suspect, quantile: float) -> NDArray[np.float64]:
        """Returns the detector's box, smaller, so that it is off by as much as its right boxes are."""
        if suspect.detection < 0:
            return np.zeros(4)
        box = self._detections.boxes[suspect.detection]
        if not len(self._fits):
            return box
        iou = float(np.quantile(self._fits, quantile))
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * np.sqrt(iou)
        return np.concatenate([center - half, center + half])

    def _mended(self, columns: _Columns, suspects: Sequence[Suspect], boxes: Sequence[NDArray[np.float64]]) -> _Columns:
        """Returns the labels with suspects mended."""
        new, labels = columns.boxes.copy(), columns.labels.copy()
        keep = np.ones(len(labels), dtype=bool)
        added = []
        for suspect, box in zip(suspects, boxes, strict=True):
            row = self._place[suspect.label] if suspect.label >= 0 else -1
            if suspect.kind == "overlooked":
                added.append((box, self._detections.labels[suspect.detection], suspect.image))
            elif suspect.kind == "swapped_class":
                labels[row] = suspect.category
            elif suspect.kind == "badly_placed":
                new[row] = box
            else:
                keep[row] = False
        more = [np.array(column) for column in zip(*added, strict=True)] or [np.zeros((0, 4)), _NONE, _NONE]
        return _Columns(
            np.concatenate([new[keep], more[0].reshape(-1, 4)]),
            np.concatenate([labels[keep], more[1]]),
            np.concatenate([columns.images[keep], more[2]]),
            np.concatenate([columns.crowd[keep], np.zeros(len(more[1]), dtype=bool)]),
        )

    def _truth(self, columns: _Columns, rows: NDArray[np.bool_], categories: Sequence[int]) -> GroundTruth:
        return GroundTruth(
            columns.boxes[rows],
            columns.labels[rows],
            columns.images[rows],
            crowd=columns.crowd[rows],
            images=self._images,
            categories=np.array(categories, dtype=np.int64),
        )

    def _by_category(self, columns: _Columns) -> NDArray[np.float64]:
        categories = range(self._count)
        truth = self._truth(columns, np.ones(len(columns.labels), dtype=bool), categories)
        return np.array(list(evaluate(truth, self._seen_here, mode="reward").per_category.values()))


_NONE = np.zeros(0, dtype=np.int64)


def _mean(values: NDArray[np.float64]) -> float:
    """Returns the mean over the categories that have labels; 0 where none has."""
    defined = values[values >= 0]
    return float(defined.mean()) if len(defined) else 0.0


def _some(result: Detections, rows: NDArray[np.bool_]) -> Detections:
    return Detections(result.boxes[rows], result.scores[rows], result.labels[rows], result.image_ids[rows])
