"""The boxes of one split before suppression, kept, so that post-processing can be tried thousands of times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import DataError
from mapopt.metrics import GroundTruth


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateSet:
    """The boxes of one split before suppression, and what is really there.

    Attributes:
        boxes: float32 ``[n, 4]`` xyxy in network pixels, in which suppression compares them.
        placed: float64 ``[n, 4]`` the same boxes in the pixels of the ground truth, in which they are judged.
        scores: float32 ``[n]``, not negative.
        labels: int64 ``[n]`` positions of categories.
        images: int64 ``[n]`` positions of images.
        truth: images and categories are named by their positions.

    Raises:
        DataError: columns differ in length, a score is negative or not finite, a label or image has no position, or
            there is no object to find.
    """

    boxes: NDArray[np.float32]
    placed: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    truth: GroundTruth

    def __post_init__(self) -> None:
        lengths = [len(getattr(self, name)) for name in ("boxes", "placed", "scores", "labels", "images")]
        if len(set(lengths)) > 1:
            raise DataError(f"candidates have columns of {lengths} rows: expected one row for every box")
        if not (np.isfinite(self.scores).all() and (self.scores >= 0).all()):
            raise DataError("a candidate's score is negative or not finite: expected scores from 0 up")
        for name, count in (("labels", self.classes), ("images", len(self.truth.images))):
            column = getattr(self, name)
            if len(column) and not (column.min() >= 0 and column.max() < count):
                raise DataError(
                    f"candidates have {name} {column.min()} to {column.max()}: expected positions, 0 to {count - 1}"
                )
        if self.truth.crowd.all():
            raise DataError("a split of candidates has no object to find: give images with objects")

    @property
    def classes(self) -> int:
        """Number of categories."""
        return len(self.truth.categories)
