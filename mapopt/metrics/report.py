"""The outcome of an evaluation: pycocotools' twelve numbers, and the curves they come from.

Undefined numbers, such as the AP of a category without ground truth, are -1 as in pycocotools. Numbers that were not
asked for are errors, never a value that could be averaged by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.settings import RECALLS

STATS: tuple[str, ...] = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""Names of `Report.stats`, in pycocotools' order."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Report:
    """How well detections match the ground truth.

    A metric's name says what it is: ``ap`` is the mean over the IoU thresholds (.5 to .95), ``ap50`` and ``ap75`` are
    at one. AP and the ``ar_small`` family are at the largest limit on detections per image and category.

    Attributes:
        precision: ``[t, 101, k, a, m]`` best precision at that recall or more; -1 where undefined.
        recall: ``[t, k, a, m]`` recall of all detections together; -1 where undefined.
        scores: ``[t, 101, k, a, m]`` score at which the recall is reached; -1 where undefined.
        iou_thresholds: ``[t]`` IoU thresholds.
        categories: ``[k]`` category ids, ascending.
        area_names: Names of the area ranges.
        max_detections: Limits on detections per image and category, ascending.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    iou_thresholds: NDArray[np.float64]
    categories: NDArray[np.int64]
    area_names: tuple[str, ...]
    max_detections: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Report({', '.join(f'{name}={value:.4f}' for name, value in self.measured().items())})"

    @property
    def recall_levels(self) -> NDArray[np.float64]:
        """``[101]`` the recalls at which precision is read."""
        return RECALLS

    def average_precision(
        self, *, iou: float | None = None, area: str = "all", max_detections: int | None = None
    ) -> float:
        """Returns the mean precision over recalls, categories and IoU thresholds, -1 where undefined.

        Args:
            iou: One IoU threshold; default is the mean over all.
            area: Name of an area range.
            max_detections: One of the limits; default is the largest.

        Raises:
            ConfigError: If that was not measured.
        """
        return _mean(self.precision[self._threshold(iou), :, :, self._area(area), self._limit(max_detections)])

    def average_recall(
        self, *, iou: float | None = None, area: str = "all", max_detections: int | None = None
    ) -> float:
        """Returns the mean recall over categories and IoU thresholds, -1 where undefined; see `average_precision`."""
        return _mean(self.recall[self._threshold(iou), :, self._area(area), self._limit(max_detections)])

    @cached_property
    def stats(self) -> NDArray[np.float64]:
        """``[12]`` numbers in pycocotools' order (`STATS`); NaN for those that were not measured."""
        measured = self.measured()
        stats = np.array([measured.get(name, np.nan) for name in STATS])
        stats.flags.writeable = False
        return stats

    def measured(self) -> dict[str, float]:
        """Returns those of the twelve numbers that were measured, by name."""
        numbers = {}
        for name in STATS:
            try:
                numbers[name] = getattr(self, name)
            except ConfigError:
                continue
        return numbers

    @cached_property
    def ap(self) -> float:
        """AP, mean over the IoU thresholds."""
        return self.average_precision()

    @cached_property
    def ap50(self) -> float:
        """AP at IoU .5."""
        return self.average_precision(iou=0.5)

    @cached_property
    def ap75(self) -> float:
        """AP at IoU .75."""
        return self.average_precision(iou=0.75)

    @property
    def ap_small(self) -> float:
        """AP of small objects."""
        return self.average_precision(area="small")

    @property
    def ap_medium(self) -> float:
        """AP of medium objects."""
        return self.average_precision(area="medium")

    @property
    def ap_large(self) -> float:
        """AP of large objects."""
        return self.average_precision(area="large")

    @property
    def ar1(self) -> float:
        """Average recall with one detection per image and category."""
        return self.average_recall(max_detections=1)

    @property
    def ar10(self) -> float:
        """Average recall with 10 detections per image and category."""
        return self.average_recall(max_detections=10)

    @property
    def ar100(self) -> float:
        """Average recall with 100 detections per image and category."""
        return self.average_recall(max_detections=100)

    @property
    def ar_small(self) -> float:
        """Average recall of small objects."""
        return self.average_recall(area="small")

    @property
    def ar_medium(self) -> float:
        """Average recall of medium objects."""
        return self.average_recall(area="medium")

    @property
    def ar_large(self) -> float:
        """Average recall of large objects."""
        return self.average_recall(area="large")

    @cached_property
    def per_category(self) -> dict[int, float]:
        """AP of every category id; -1 for a category without ground truth."""
        return self._per_category(slice(None))

    @cached_property
    def per_category50(self) -> dict[int, float]:
        """AP at IoU .5 of every category id."""
        return self._per_category(self._threshold(0.5))

    def _per_category(self, thresholds: slice) -> dict[int, float]:
        curves = self.precision[thresholds, :, :, self._area("all"), -1]
        # One contiguous row for every category, so that a row sums up as it would alone: bit for bit its own AP.
        rows = np.ascontiguousarray(np.moveaxis(curves, 2, 0)).reshape(
            len(self.categories), curves.shape[0] * curves.shape[1]
        )
        return dict(zip(self.categories.tolist(), rows.mean(axis=1).tolist(), strict=True))

    def _threshold(self, iou: float | None) -> slice:
        if iou is None:
            return slice(None)
        measured = self.iou_thresholds.tolist()
        if iou not in measured:
            raise ConfigError(f"IoU threshold {iou} was not measured: measured are {measured}")
        return slice(measured.index(iou), measured.index(iou) + 1)

    def _area(self, area: str) -> int:
        if area not in self.area_names:
            known = ", ".join(self.area_names)
            raise ConfigError(f"area range '{area}' was not measured: measured are {known} (mode='full' has all)")
        return self.area_names.index(area)

    def _limit(self, limit: int | None) -> int:
        if limit is None:
            return len(self.max_detections) - 1
        if limit not in self.max_detections:
            raise ConfigError(f"{limit} detections per image were not measured: measured are {self.max_detections}")
        return self.max_detections.index(limit)


def _mean(values: NDArray[np.float64]) -> float:
    """Means over what is defined, summed in pycocotools' order: threshold, recall, category."""
    defined = values.ravel()
    if defined.min(initial=0.0) < 0:
        defined = defined[defined > -1]
    return float(np.add.reduce(defined) / len(defined)) if len(defined) else -1.0
