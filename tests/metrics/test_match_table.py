"""The table of matches is the one that pycocotools counts from."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import Detections, GroundTruth, evaluate, match
from mapopt.metrics.oracle import pycocotools_evaluation
from mapopt.metrics.settings import Settings

ENGINES = ["numpy", "numba"] if find_spec("numba") else ["numpy"]


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_every_match_is_pycocotools_match(first, hard_scene) -> None:
    settings = Settings.of()
    for seed in range(first, first + 20):
        truth, detections = hard_scene(seed)
        oracle = pycocotools_evaluation(truth, detections, settings)
        for engine, limits in itertools.product(ENGINES, settings.area_limits.tolist()):
            table = match(truth, detections, area_range=tuple(limits), backend=engine)
            taken = np.full(table.truth.shape, -1)
            ignored = np.ones(table.ignored.shape, bool)
            for image in oracle.evalImgs:
                if image is not None and image["aRng"] == limits:
                    rows = np.array(image["dtIds"], int) - 1
                    taken[rows] = image["dtMatches"].T.astype(int) - 1
                    ignored[rows] = image["dtIgnore"].T
            assert np.array_equal(table.truth, taken), (seed, engine, limits)
            assert np.array_equal(table.ignored, ignored), (seed, engine, limits)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_counts_explain_the_recall(engine, hard_scene) -> None:
    for seed in range(60):
        truth, detections = hard_scene(seed)
        table = match(truth, detections, backend=engine)
        report = evaluate(truth, detections, backend=engine)
        for number, category in enumerate(truth.categories):
            mine = table.counted & (truth.labels == category)
            hits = table.correct[detections.labels == category].sum(axis=0)
            if mine.any():
                assert np.array_equal(report.recall[:, number, 0, -1], hits / mine.sum())
                assert np.array_equal(table.missed[mine].sum(axis=0), mine.sum() - hits)
            else:
                assert not hits.any()


def test_both_sides_of_a_match_name_each_other(hard_scene) -> None:
    for seed in range(60):
        truth, detections = hard_scene(seed)
        table = match(truth, detections)
        row, threshold = np.nonzero(table.correct)
        assert np.array_equal(table.detection[table.truth[row, threshold], threshold], row)
        assert not (table.correct & table.wrong).any()


def test_a_crowd_names_its_best_detection_and_is_never_missed() -> None:
    truth = GroundTruth([[0, 0, 100, 100], [200, 0, 300, 100]], [1, 1], [1, 1], crowd=[True, True])
    table = match(truth, Detections([[0, 0, 50, 50], [10, 10, 40, 40]], [0.2, 0.9], [1, 1], [1, 1]))
    assert (table.truth[:, 0].tolist(), table.detection[:, 0].tolist()) == ([0, 0], [1, -1])
    assert table.ignored.all()
    assert not table.missed.any()
    assert not table.counted.any()


def test_more_thresholds_than_one_word_holds_are_matched() -> None:
    truth = GroundTruth([[0, 0, 100, 100]], [1], [1])
    thresholds = np.linspace(0.01, 1.0, 100)
    table = match(truth, Detections([[0, 0, 100, 70]], [0.2], [1], [1]), iou_thresholds=thresholds)
    assert np.array_equal(table.truth[0], np.where(thresholds <= 0.7, 0, -1))


def test_detections_beyond_the_limit_or_of_unknown_categories_are_not_evaluated() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    lane = Detections([[0, 0, 10, 10]] * 3, [0.2, 0.9, 0.5], [1, 2, 1], [1, 1, 1])
    table = match(truth, lane, limit=1)
    assert table.truth[:, 0].tolist() == [-1, -1, 0]
    assert table.ignored[:, 0].tolist() == [True, True, False]


def test_what_makes_no_sense_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    with pytest.raises(ConfigError, match="backend 'pycocotools' gives no matches: use 'auto', 'numpy' or 'numba'"):
        match(truth, lane, backend="pycocotools")
    with pytest.raises(ConfigError, match="unknown backend 'rust'"):
        match(truth, lane, backend="rust")
    with pytest.raises(ConfigError, match=r"max_detections are \(0,\): expected whole numbers from 1 up"):
        match(truth, lane, limit=0)
    with pytest.raises(DataError, match="detection 0 lies in image 2"):
        match(truth, Detections([[0, 0, 10, 10]], [0.5], [1], [2]))
