"""Who took whom: the ground truth that each detection was matched to, for looking at mistakes one by one.

It is the matching that AP is counted from, so a detection that is wrong here is one that costs AP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.errors import ConfigError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.engines import Backend, check_backend, engine_for, match_all
from mapopt.metrics.layout import lay_out
from mapopt.metrics.settings import Settings


@dataclass(frozen=True, eq=False, kw_only=True)
class MatchTable:
    """Matches at every IoU threshold; rows are in the order in which boxes were given.

    Attributes:
        iou_thresholds: ``[t]`` IoU thresholds.
        truth: ``[n, t]`` the ground truth that a detection took, -1 for none.
        ignored: ``[n, t]`` True where a detection counts neither way: it took a crowd or a ground truth outside the
            area range, or is unmatched and itself outside, or was not evaluated (unknown category, beyond the limit).
        detection: ``[g, t]`` the detection that took a ground truth, the best one of a crowd, -1 for none.
        counted: ``[g]`` True for a ground truth that must be found: no crowd, and inside the area range.
    """

    iou_thresholds: NDArray[np.float64]
    truth: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    detection: NDArray[np.int64]
    counted: NDArray[np.bool_]

    def column(self, iou: float) -> int:
        """Returns the place of an IoU threshold.

        Raises:
            ConfigError: If nothing was matched at it.
        """
        nearest = int(np.argmin(np.abs(self.iou_thresholds - iou)))
        # COCO's thresholds differ from the decimal numbers in the last bit.
        if not abs(self.iou_thresholds[nearest] - iou) < 1e-9:
            raise ConfigError(
                f"no matches at IoU {iou}: the table has {self.iou_thresholds.tolist()}; "
                "name one of them, or match again"
            )
        return nearest

    @property
    def correct(self) -> NDArray[np.bool_]:
        """``[n, t]`` the true positives."""
        return (self.truth >= 0) & ~self.ignored

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """``[n, t]`` the false positives."""
        return (self.truth < 0) & ~self.ignored

    @property
    def missed(self) -> NDArray[np.bool_]:
        """``[g, t]`` the false negatives."""
        return (self.detection < 0) & self.counted[:, None]


def match(
    truth: GroundTruth,
    detections: Detections,
    *,
    iou_thresholds: ArrayLike | None = None,
    area_range: tuple[float, float] | None = None,
    limit: int = 100,
    backend: Backend = "auto",
) -> MatchTable:
    """Matches detections to ground truths as `evaluate` does.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        iou_thresholds: ``[t]`` ascending, in (0, 1]; default .5, .55, ... .95.
        area_range: Smallest and largest area in pixels squared; default COCO's "all".
        limit: Detections per image and category.
        backend: "auto", "numpy" or "numba"; the matches are the same.

    Raises:
        ConfigError: If a threshold, the range, the limit or the backend makes no sense.
        DataError: If a detection lies in an image that the ground truth does not list.

    >>> truth = GroundTruth([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1], [1, 1])
    >>> table = match(truth, Detections([[0, 0, 10, 8]], [0.9], [1], [1]), iou_thresholds=[0.5, 0.9])
    >>> table.truth.tolist(), table.missed[:, 0].tolist()
    ([[0, -1]], [False, True])
    """
    settings = Settings.of(
        iou_thresholds=iou_thresholds,
        area_ranges=None if area_range is None else {"all": area_range},
        max_detections=(limit,),
        mode="reward",
    )
    if backend == "pycocotools":
        raise ConfigError("backend 'pycocotools' gives no matches: use 'auto', 'numpy' or 'numba'")
    check_backend(backend)
    layout = lay_out([truth], [detections], limit=limit)
    ignored_truth, parts = match_all(layout, settings, engine_for(backend))
    shape = (len(detections), len(settings.iou_thresholds))
    taken, ignored = np.full(shape, -1, np.int64), np.ones(shape, bool)
    taker = np.full((len(truth), shape[1]), -1, np.int64)
    ignored[layout.source] = settings.outside(layout.box_area)[0, :, None]
    first = 0
    for part in parts:
        # The worst detection first: of several that took a crowd the best one stays.
        order = np.argsort(-part.detection, kind="stable")
        for bit in range(min(64, shape[1] - first)):
            won = order[(part.tracks[order] >> np.uint64(bit)) & np.uint64(1) > 0]
            row, target = layout.source[part.detection[won]], part.truth[won]
            taken[row, first + bit] = truth.index.source[target]
            ignored[row, first + bit] = ignored_truth[0, target]
            taker[truth.index.source[target], first + bit] = row
        first += 64
    counted = np.zeros(len(truth), bool)
    counted[truth.index.source] = ~ignored_truth[0]
    return MatchTable(
        iou_thresholds=settings.iou_thresholds, truth=taken, ignored=ignored, detection=taker, counted=counted
    )
