"""What pictures in boxes look like, as far as it is known: one row for each label, detection and empty place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Appearance:
    """How likely pictures show each class, or, in the last column, nothing: float32, rows add up to 1.

    Attributes:
        label: ``[N, C + 1]`` of the labels' boxes.
        detection: ``[D, C + 1]`` of the detections' boxes; surely nothing where they were not looked at.
        nothing: ``[M, C + 1]`` of places where nothing is labeled.
    """

    label: NDArray[np.float32]
    detection: NDArray[np.float32]
    nothing: NDArray[np.float32]

    def planted(self, origin: NDArray[np.int64]) -> Appearance:
        """Returns the same for labels with faults: a copy of a label looks like it, what was made up like nothing.

        Args:
            origin: the label that each came from; -1 where it came from none.
        """
        rows = np.flatnonzero(origin < 0)
        label = self.label[np.maximum(origin, 0)]
        label[rows] = self.nothing[rows % len(self.nothing)] if len(self.nothing) else self.label[:1] * 0
        return Appearance(label, self.detection, self.nothing)
