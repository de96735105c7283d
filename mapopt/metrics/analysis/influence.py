"""What each image costs: AP of all others, from one matching pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.analysis.bootstrap import numbers_of
from mapopt.metrics.analysis.resampling import Ledger, precisions
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.engines import Backend


def image_costs(
    truth: GroundTruth, detections: Detections, *, backend: Backend = "auto", limit: int = 100
) -> NDArray[np.float64]:
    """Returns ``[i]`` for every image, in ascending order of ids, what AP gains when it is left out.

    Positive numbers are images that cost AP; NaN where nothing is left to be found. An image with the only object of a
    category takes the category with it.

    Args:
        truth: The annotated boxes.
        detections: The boxes that a detector reports.
        backend: "auto", "numpy" or "numba"; the numbers are the same.
        limit: Detections per image and category.

    Raises:
        ConfigError: If the backend does not exist, or is pycocotools.
        DataError: As in `evaluate`.

    >>> truth = GroundTruth([[0, 0, 10, 10]] * 2, [1, 1], [1, 2])
    >>> image_costs(truth, Detections([[0, 0, 10, 10]], [0.9], [1], [1])).round(3).tolist()
    [-0.505, 0.495]
    """
    ledger = Ledger.of(truth, detections, backend=backend, limit=limit)
    # What is in neither list cannot change AP.
    touched = np.union1d(ledger.image, ledger.truth_image).astype(np.int64)

    def without() -> Iterator[NDArray[np.int64]]:
        for left_out in (-1, *touched.tolist()):
            copies = np.ones(ledger.images, np.int64)
            if left_out >= 0:
                copies[left_out] = 0
            yield copies

    values = [
        numbers_of(precision, ledger.columns)[0]
        for precision in precisions(ledger, without(), total=len(touched) + 1, backend=backend)
    ]
    costs = np.zeros(ledger.images)
    costs[touched] = np.array(values[1:]) - values[0]
    return costs
