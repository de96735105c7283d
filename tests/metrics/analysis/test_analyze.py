"""One matching answers every question, with the answers that asking alone gives."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

from mapopt.errors import ConfigError
from mapopt.metrics import (
    Detections,
    analyze,
    confusion_matrix,
    error_causes,
    find_operating_points,
    match,
    measure_calibration,
    precision_recall,
    ranking,
)
from mapopt.metrics.analysis import analyze as analysis
from mapopt.metrics.analysis import causes


def test_every_answer_is_the_one_that_is_given_alone(hard_scene, monkeypatch) -> None:
    for seed in range(10):
        truth, lane = hard_scene(seed)
        lane = Detections(lane.boxes, np.clip(lane.scores, 0, 1), lane.labels, lane.image_ids)
        alone = (
            precision_recall(truth, lane).average_precision,
            find_operating_points(truth, lane).mean_optimal_lrp,
            error_causes(truth, lane).delta_average_precision,
            measure_calibration(truth, lane).expected_calibration_error,
        )
        counting_match = Mock(wraps=match)
        with monkeypatch.context() as patch:
            for module in (analysis, ranking, causes):
                patch.setattr(module, "match", counting_match)
            answers = analyze(truth, lane)
            together = (
                answers.precision_recall.average_precision,
                answers.operating_points.mean_optimal_lrp,
                answers.causes.delta_average_precision,
                answers.calibration.expected_calibration_error,
            )
            threshold = answers.operating_points.pooled.best_f1.threshold[0]
            counts = answers.confusion.counts
        assert repr(together) == repr(alone)  # NaN equals NaN
        assert counting_match.call_count == 1
        assert np.array_equal(
            counts,
            confusion_matrix(truth, lane, score_threshold=np.nan_to_num(threshold, nan=-np.inf, posinf=np.inf)).counts,
        )


def test_a_threshold_that_was_not_matched_is_refused_at_once(hard_scene) -> None:
    truth, lane = hard_scene(0)
    with pytest.raises(ConfigError, match=r"no matches at IoU 0\.3"):
        analyze(truth, lane, iou=0.3, table=match(truth, lane))
