"""Lists of dictionaries in place of boxes: the error shows how to make boxes of them, at every public entry point."""

from __future__ import annotations

import pytest
import torch

from mapopt import metrics
from mapopt.errors import DataError

BOXES = torch.tensor([[10.0, 10.0, 60.0, 60.0]])
TARGETS = [{"boxes": BOXES, "labels": torch.tensor([1])}]
PREDICTIONS = [{"boxes": BOXES, "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}]

ENTRIES = [
    metrics.evaluate,
    metrics.match,
    metrics.analyze,
    metrics.bootstrap,
    metrics.confusion_matrix,
    metrics.error_causes,
    metrics.find_operating_points,
    metrics.f1_and_lrp,
    metrics.fixed_average_precision,
    metrics.image_costs,
    metrics.measure_calibration,
    metrics.pooled_average_precision,
    metrics.precision_recall,
    metrics.voc_average_precision,
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_the_error_shows_what_to_write(entry) -> None:
    truth, detections = metrics.GroundTruth.from_dicts(TARGETS), metrics.Detections.from_dicts(PREDICTIONS)
    with pytest.raises(DataError, match=r"^the ground truth is of type list: .*GroundTruth\.from_dicts\(targets\)"):
        entry(TARGETS, PREDICTIONS)
    with pytest.raises(DataError, match=r"^detections are of type list: .*Detections\.from_dicts\(predictions\)"):
        entry(truth, PREDICTIONS)
    with pytest.raises(DataError, match=r"^detections are given first and the ground truth second"):
        entry(detections, truth)


def test_what_it_shows_works() -> None:
    truth, detections = metrics.GroundTruth.from_dicts(TARGETS), metrics.Detections.from_dicts(PREDICTIONS)
    assert metrics.evaluate(truth, detections).ap == pytest.approx(1)


def test_several_detectors_and_differences_say_it_too() -> None:
    truth, detections = metrics.GroundTruth.from_dicts(TARGETS), metrics.Detections.from_dicts(PREDICTIONS)
    with pytest.raises(DataError, match=r"^detections are of type dict"):
        metrics.evaluate_lanes(truth, PREDICTIONS)
    with pytest.raises(DataError, match=r"^lanes are of type Detections: expected a list of Detections"):
        metrics.evaluate_lanes(truth, detections)
    with pytest.raises(DataError, match=r"^the ground truth is of type NoneType"):
        metrics.evaluate(None, detections)
    with pytest.raises(DataError, match=r"^detections are of type list"):
        metrics.bootstrap_difference(truth, detections, PREDICTIONS)
