"""What is shown of many categories: sums stay what they are, and nothing undefined passes for a number."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from mapopt.evaluation import tables
from mapopt.evaluation.document import as_document
from mapopt.evaluation.findings import Questions, compare, measure
from mapopt.evaluation.inputs import Predictions
from mapopt.evaluation.printed import describe
from mapopt.metrics import Detections, confusion_matrix
from mapopt.metrics.analysis.bootstrap import bootstrap


@pytest.fixture(scope="module")
def findings(evaluated_scene):
    truth, predictions = evaluated_scene(30)
    return measure(truth, predictions(1, 1.0), Questions(resamples=40))


def test_rare_categories_are_put_together_and_no_count_is_lost(findings):
    table = tables.confusion_table(findings, limit=6)
    confusion = findings.analysis.confusion
    assert table.counts.sum() == confusion.counts.sum()
    assert (table.counts.shape, len(table.names), table.others) == ((8, 8), 6, 24)
    assert table.names[0] == "kind 0"
    places = [int(name.split()[1]) for name in table.names]
    assert (table.counts[:6, :6] == confusion.counts[np.ix_(places, places)]).all()
    assert (table.counts[:, :6].sum(axis=0) == confusion.counts[:, places].sum(axis=0)).all()
    assert table.counts[-1].sum() == confusion.counts[-1].sum()
    assert table.counts[:, -1].sum() == confusion.counts[:, -1].sum()
    whole = tables.confusion_table(findings, limit=29)
    assert (len(whole.names), whole.others) == (30, 0)


def test_the_confusions_named_are_those_counted(findings):
    threshold = findings.analysis.confusion.score_threshold
    counts = confusion_matrix(findings.truth.boxes, findings.predictions.detections, score_threshold=threshold).counts
    for true, predicted, count in tables.confusions(findings, 4):
        assert true != predicted == "kind 0"
        assert counts[int(true.split()[1]), 0] == count > 0


def test_rows_have_the_evaluators_numbers_and_the_bootstraps_intervals(findings):
    rows = tables.category_rows(findings)
    intervals = bootstrap(findings.truth.boxes, findings.predictions.detections, resamples=40)
    for row in rows[:5]:
        assert row.ap.value == findings.report.per_category[row.category] == intervals.per_category[row.category].value
        assert (row.ap.low, row.ap.high) == (
            intervals.per_category[row.category].low,
            intervals.per_category[row.category].high,
        )
    assert [row.objects for row in rows] == np.bincount(findings.truth.notes.labels, minlength=30).tolist()
    assert sum(row.detections for row in rows) == len(findings.predictions.detections)
    frequent = tables.frequent(rows, 3)
    assert [row.objects for row in frequent] == sorted((row.objects for row in rows), reverse=True)[:3]
    assert tables.worst(rows, 1)[0].ap.value == min(row.ap.value for row in rows if row.objects)


def test_a_category_in_few_images_has_no_interval(findings, monkeypatch):
    rows = tables.category_rows(findings)
    for row in rows:
        labels = findings.truth.notes.labels == row.category // 10 - 1
        assert row.images == len(set(findings.truth.notes.images[labels].tolist()))
    assert rows[4].images > tables.FEWEST_IMAGES
    monkeypatch.setattr(tables, "FEWEST_IMAGES", rows[4].images)
    assert not math.isnan(tables.category_rows(findings)[4].ap.low)
    monkeypatch.setattr(tables, "FEWEST_IMAGES", rows[4].images + 1)
    assert math.isnan(tables.category_rows(findings)[4].ap.low)


def test_a_category_without_objects_is_undefined_everywhere(findings):
    row = tables.category_rows(findings)[-1]
    assert row.objects == 0
    numbers = (row.ap.value, row.ap50, row.ap75, row.best_f1.f1, row.best_f1.threshold, row.optimal_lrp.lrp, *row.voc)
    assert all(map(math.isnan, numbers))
    stored = as_document(findings)["categories"][-1]
    assert stored["ap"] is None
    assert stored["optimal_lrp"]["lrp"] is None


def test_a_report_is_valid_json_where_much_is_undefined(evaluated_scene):
    truth, _ = evaluated_scene(3)
    none = np.zeros(0, np.int64)
    nothing = Predictions(name="nothing", detections=Detections(np.zeros((0, 4)), np.zeros(0), none, none))
    empty = measure(truth, nothing, Questions(resamples=3))
    document = json.loads(json.dumps(as_document(empty), allow_nan=False))
    assert document["ap"] == 0
    assert document["pooled_best_f1"]["threshold"] is None
    assert document["calibration"]["expected_calibration_error"] is None
    assert "nan" not in describe(empty)
    assert "inf" not in describe(empty).replace("information", "")


def test_scores_that_are_no_probabilities_have_no_calibration_and_everything_else(evaluated_scene):
    truth, predictions = evaluated_scene(3)
    detections = predictions(2, 1.0).detections
    logits = Detections(detections.boxes, 8 * detections.scores - 4, detections.labels, detections.image_ids)
    questions = Questions(resamples=0)
    ours = measure(truth, Predictions(name="logits", detections=logits), questions)
    plain = measure(truth, predictions(2, 1.0), questions)
    assert ours.calibration is None
    assert as_document(ours)["calibration"] is None
    assert "scores are not between 0 and 1" in describe(ours)
    assert ours.report.ap == plain.report.ap
    assert tables.cause_rows(ours) == tables.cause_rows(plain)


def test_many_categories_are_printed_as_the_frequent_ones_and_a_note(findings):
    text = describe(findings)
    assert " The 20 most frequent of 30 categories; report.json, in --out, has all.\n Worst: " in text
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith(" category"))
    assert all(line.startswith(" kind") for line in lines[head + 1 : head + 21])
    assert not lines[head + 21].startswith(" kind")
    assert max(map(len, lines)) <= 120


def test_an_interval_below_its_number_is_explained(findings):
    low = dataclasses.replace(findings.intervals.ap, low=0.0, high=findings.report.ap - 0.01)
    biased = dataclasses.replace(findings, intervals=dataclasses.replace(findings.intervals, ap=low))
    assert "AP of few images is too large; an interval says what it would be" in describe(biased)
    high = dataclasses.replace(low, high=1.0)
    plain = dataclasses.replace(
        findings, intervals=dataclasses.replace(findings.intervals, ap=high, ap50=high, ap75=high)
    )
    assert "too large" not in describe(plain)


def test_differences_are_ours_less_the_other(evaluated_scene):
    truth, predictions = evaluated_scene(4)
    ours, other = predictions(1, 0.5), predictions(2, 3.0)
    comparison = compare(truth, ours, other, Questions(resamples=40))
    main, categories = tables.difference_rows(comparison)
    assert main[0].difference.value == main[0].ours - main[0].other > 0
    assert main[0].ours == measure(truth, ours, Questions(resamples=0)).report.ap
    assert [row.name for row in categories] == ["kind 0", "kind 1", "kind 2"]
    turned = compare(truth, other, ours, Questions(resamples=40))
    back = tables.difference_rows(turned)[0][0].difference
    assert (back.low, back.high) == pytest.approx((-main[0].difference.high, -main[0].difference.low))
    assert comparison.difference.better == 1
    plain = tables.difference_rows(compare(truth, ours, other, Questions(resamples=0)))[0][0]
    assert plain.difference.value == main[0].difference.value
    assert math.isnan(plain.difference.low)
