"""Limits on detections: None, a number or several, in Python and as a flag."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, evaluate

TRUTH = GroundTruth([[0, 0, 10, 10]], [1], [1])
DETECTIONS = Detections([[0, 0, 10, 10]], [0.9], [1], [1])


@pytest.mark.parametrize(
    ("given", "limits"),
    [(None, (1, 10, 100)), (100, (100,)), (np.int64(7), (7,)), ([10, 1], (1, 10)), (np.array([1, 5]), (1, 5))],
)
def test_the_limits_mean_what_they_say(given, limits) -> None:
    report = evaluate(TRUTH, DETECTIONS, max_detections=given)
    assert report.max_detections == limits
    assert report.ap == pytest.approx(1)


@pytest.mark.parametrize("given", ["100", True, 0, 1.5, [], [1, "2"], [[1], [2, 3]], float("nan"), {"a": 1}])
def test_what_is_no_limit_is_refused(given) -> None:
    with pytest.raises(ConfigError, match=r"^max_detections are .*: expected whole numbers from 1 up$"):
        evaluate(TRUTH, DETECTIONS, max_detections=given)
