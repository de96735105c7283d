"""Resamples are what evaluating the copied images gives, bit for bit, and intervals hold what they say."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.experiments.bench.peers.ours import our_boxes
from mapopt.experiments.bench.peers.sets import SetSize, make_set
from mapopt.metrics import Detections, Estimate, GroundTruth, bootstrap, bootstrap_difference, engines, evaluate
from mapopt.metrics.analysis import resampling
from mapopt.metrics.analysis.resampling import Ledger, precisions

needs_numba = pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
BACKENDS = ["numpy", pytest.param("numba", marks=needs_numba)]


def random_set(images: int, categories: int, *, seed: int = 0) -> tuple[GroundTruth, Detections]:
    """Returns a random ground truth and the detections of a mediocre detector."""
    return our_boxes(make_set(SetSize(images=images, categories=categories, objects=7.3, detections=36), seed=seed))


def copied(truth: GroundTruth, lane: Detections, copies: np.ndarray) -> tuple[GroundTruth, Detections]:
    """Copies images in full: copy c of the i-th image is image 1000 i + c, so that copies are neighbours."""
    rounds = range(int(copies.max(initial=0)))
    image, predicted = np.searchsorted(truth.images, truth.image_ids), np.searchsorted(truth.images, lane.image_ids)
    real = [np.flatnonzero(copies[image] > c) for c in rounds]
    mine = [np.flatnonzero(copies[predicted] > c) for c in rounds]
    rows, lane_rows = np.concatenate(real), np.concatenate(mine)
    real_ids = np.concatenate([1000 * image[chosen] + c for c, chosen in enumerate(real)])
    lane_ids = np.concatenate([1000 * predicted[chosen] + c for c, chosen in enumerate(mine)])
    return (
        GroundTruth(
            truth.boxes[rows],
            truth.labels[rows],
            real_ids,
            crowd=truth.crowd[rows],
            area=truth.area[rows],
            images=np.concatenate([1000 * np.flatnonzero(copies > c) + c for c in rounds]),
            categories=truth.categories,
        ),
        Detections(lane.boxes[lane_rows], lane.scores[lane_rows], lane.labels[lane_rows], lane_ids),
    )


def drawn(generator: np.random.Generator, images: int) -> np.ndarray:
    return np.bincount(generator.integers(0, images, images), minlength=images)


def precision_of(ledger: Ledger, copies: np.ndarray, backend: str) -> np.ndarray:
    return next(precisions(ledger, [copies], total=1, backend=backend))


def expected_precision(truth: GroundTruth, lane: Detections, copies: np.ndarray) -> np.ndarray:
    return evaluate(*copied(truth, lane, copies), mode="reward").precision[:, :, :, 0, 0].transpose(2, 0, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(60))
def test_a_resample_has_the_bits_of_evaluating_the_copied_images(hard_scene, seed, backend) -> None:
    truth, lane = hard_scene(seed)
    ledger = Ledger.of(truth, lane)
    generator = np.random.default_rng(seed)
    for _ in range(3):
        copies = drawn(generator, len(truth.images))
        assert np.array_equal(precision_of(ledger, copies, backend), expected_precision(truth, lane, copies))


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_scores_within_an_image_are_copied_in_turns(backend) -> None:
    # Wrong, right, wrong, right has precision 1/2 at the end; wrong, wrong, right, right has it too, but 1/3 before.
    truth = GroundTruth([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1], [1, 1])
    lane = Detections([[20, 20, 30, 30], [0, 0, 10, 10], [0, 20, 10, 30]], [0.5, 0.5, 0.5], [1, 1, 1], [1, 1, 1])
    precision = precision_of(Ledger.of(truth, lane), np.array([2]), backend)
    assert np.array_equal(precision, expected_precision(truth, lane, np.array([2])))
    assert precision[0, 0, :51] == pytest.approx([0.5] * 26 + [0.4] * 25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_the_ap_of_the_images_drawn_by_the_seed(backend) -> None:
    truth, lane = random_set(12, 5, seed=3)
    intervals = bootstrap(truth, lane, resamples=6, seed=11, backend=backend)
    generator = np.random.default_rng(11)
    expected = [evaluate(*copied(truth, lane, drawn(generator, 12)), mode="reward").ap for _ in range(6)]
    assert intervals.samples.tolist() == expected


def test_values_are_those_of_evaluate() -> None:
    truth, lane = random_set(40, 8)
    intervals, report = bootstrap(truth, lane, resamples=2), evaluate(truth, lane)
    assert (intervals.ap.value, intervals.ap50.value, intervals.ap75.value) == (report.ap, report.ap50, report.ap75)
    assert list(intervals.per_category) == truth.categories.tolist()
    for category, interval in intervals.per_category.items():
        expected = report.per_category[category]
        assert interval.value == expected or (math.isnan(interval.value) and expected == -1)


@needs_numba
def test_all_backends_give_the_same_intervals(monkeypatch) -> None:
    truth, lane = random_set(30, 6)
    by_numpy = bootstrap(truth, lane, resamples=20, backend="numpy")
    monkeypatch.setattr(engines, "_choice", engines._Choice())
    slow_from_the_first = bootstrap(truth, lane, resamples=20)
    monkeypatch.setattr(engines, "PATIENCE", -1.0)
    for other in (slow_from_the_first, bootstrap(truth, lane, resamples=20, backend="numba")):
        assert np.array_equal(by_numpy.samples, other.samples)
        assert (by_numpy.ap, by_numpy.ap50, by_numpy.ap75) == (other.ap, other.ap50, other.ap75)
        assert str(by_numpy.per_category) == str(other.per_category)


@needs_numba
def test_auto_compiles_once_numpy_would_take_too_long(monkeypatch) -> None:
    used = []
    monkeypatch.setattr(engines, "_choice", engines._Choice())
    monkeypatch.setattr(resampling, "expand_and_count", lambda *given: used.append(given) or np.zeros(0))
    ledger = Ledger.of(*random_set(5, 2))
    copies = [np.ones(5, np.int64)] * 4
    assert len(list(precisions(ledger, copies, total=4))) == len(used) == 4
    monkeypatch.setattr(engines, "PATIENCE", 0.0)
    monkeypatch.setattr(engines, "engine_for", lambda name: engines.NUMPY if name == "auto" else None)
    assert len(list(precisions(ledger, copies, total=4))) == 4
    assert len(used) == 5


def test_detections_are_matched_once(monkeypatch) -> None:
    calls = []
    real = engines.match_all
    monkeypatch.setattr(engines, "match_all", lambda *given: calls.append(given) or real(*given))
    bootstrap(*random_set(10, 3), resamples=5, backend="numpy")
    assert len(calls) == 1


def test_a_seed_draws_the_same_images_and_another_seed_others() -> None:
    truth, lane = random_set(20, 3)
    first, again = bootstrap(truth, lane, resamples=30, seed=5), bootstrap(truth, lane, resamples=30, seed=5)
    assert np.array_equal(first.samples, again.samples)
    assert first.ap == again.ap
    assert np.array_equal(bootstrap(truth, lane, resamples=10, seed=5).samples, first.samples[:10])
    assert not np.array_equal(bootstrap(truth, lane, resamples=30, seed=6).samples, first.samples)


def test_a_higher_level_holds_a_lower_one() -> None:
    truth, lane = random_set(40, 3)
    narrow, wide = (bootstrap(truth, lane, resamples=200, level=level).ap for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_image_leaves_nothing_to_draw() -> None:
    truth, lane = random_set(1, 2, seed=1)
    intervals = bootstrap(truth, lane, resamples=7)
    assert intervals.ap.low == intervals.ap.high == intervals.ap.value == evaluate(truth, lane).ap > 0


def test_without_detections_ap_is_surely_zero() -> None:
    truth, _ = random_set(10, 2)
    intervals = bootstrap(truth, Detections([], [], [], []), resamples=7)
    assert intervals.ap == Estimate(0.0, 0.0, 0.0)
    assert intervals.ap50 == Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize("images", [[], [1, 2, 3]], ids=["no images", "images without a box"])
def test_without_ground_truth_everything_is_undefined(images) -> None:
    truth = GroundTruth([], [], [], images=images, categories=[4])
    lane = Detections([[0, 0, 1, 1]] * len(images), [0.5] * len(images), [4] * len(images), images)
    intervals = bootstrap(truth, lane, resamples=3)
    both = bootstrap_difference(truth, lane, lane, resamples=3)
    assert np.isnan(intervals.samples).all()
    for interval in (intervals.ap, intervals.ap75, intervals.per_category[4], both.ap, both.per_category[4]):
        assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert math.isnan(both.better)


def test_a_category_that_no_drawn_image_has_is_left_out_of_the_mean() -> None:
    # Category 2 is in one image of two and never found; category 1 is in both and always found.
    box = [0, 0, 10, 10]
    truth = GroundTruth([box] * 3, [1, 1, 2], [1, 2, 2], categories=[1, 2, 3])
    intervals = bootstrap(truth, Detections([box] * 2, [0.5] * 2, [1, 1], [1, 2]), resamples=60)
    assert sorted(set(np.round(intervals.samples, 9))) == [0.5, 1.0]
    assert intervals.per_category[2] == Estimate(0.0, 0.0, 0.0)
    assert math.isnan(intervals.per_category[3].value)
    assert math.isnan(intervals.per_category[3].high)


def noisier(lane: Detections, noise: float) -> Detections:
    scores = lane.scores + np.random.default_rng(0).normal(0, noise, len(lane))
    return Detections(lane.boxes, scores, lane.labels, lane.image_ids)


def test_equal_detectors_differ_by_exactly_nothing() -> None:
    truth, lane = random_set(30, 4)
    both = bootstrap_difference(truth, lane, lane, resamples=50)
    for interval in (both.ap, both.ap50, both.ap75):
        assert interval == Estimate(0.0, 0.0, 0.0)
    assert both.better == 0.0
    assert not both.samples.any()


def test_a_difference_is_of_the_same_resamples_and_changes_its_sign_with_the_order() -> None:
    truth, lane = random_set(30, 4)
    other = noisier(lane, 0.3)
    both = bootstrap_difference(truth, other, lane, resamples=80, seed=2)
    assert both.first.ap == bootstrap(truth, other, resamples=80, seed=2).ap
    assert both.second.ap == bootstrap(truth, lane, resamples=80, seed=2).ap
    assert np.array_equal(both.samples, both.second.samples - both.first.samples)
    assert both.ap.value == both.second.ap.value - both.first.ap.value > 0
    assert both.better == np.mean(both.samples > 0) > 0.5
    turned = bootstrap_difference(truth, lane, other, resamples=80, seed=2)
    assert (-turned.ap.high, -turned.ap.low) == pytest.approx((both.ap.low, both.ap.high))
    assert {key: -estimate.value for key, estimate in turned.per_category.items()} == {
        key: estimate.value for key, estimate in both.per_category.items()
    }


def test_pairing_narrows_the_interval_of_two_like_detectors() -> None:
    truth, lane = random_set(60, 3)
    both = bootstrap_difference(truth, lane, noisier(lane, 0.02), resamples=200)
    alone = both.first.ap.high - both.first.ap.low
    assert both.ap.high - both.ap.low < alone / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resamples": 0}, "resamples is 0: expected a whole number from 1 up, such as 1000"),
        ({"resamples": 2.5}, "resamples is 2.5: expected a whole number from 1 up"),
        ({"level": 0}, "level is 0: expected a fraction between 0 and 1, such as 0.95"),
        ({"level": 95}, "level is 95: expected a fraction between 0 and 1"),
        ({"level": math.nan}, "level is nan: expected a fraction between 0 and 1"),
        ({"seed": -1}, "seed is -1: expected a whole number from 0 up"),
        ({"backend": "numpi"}, "unknown backend 'numpi': did you mean 'numpy'?"),
        ({"backend": "pycocotools"}, "backend 'pycocotools' gives no matches to count again: use 'auto', 'numpy'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    truth, lane = random_set(2, 1)
    with pytest.raises(ConfigError, match=message):
        bootstrap(truth, lane, **settings)
    with pytest.raises(ConfigError, match=message):
        bootstrap_difference(truth, lane, lane, **settings)


def test_detections_in_an_unlisted_image_are_refused() -> None:
    truth = GroundTruth([[0, 0, 1, 1]], [1], [1])
    with pytest.raises(DataError, match="detection 0 lies in image 2, which the ground truth does not list"):
        bootstrap(truth, Detections([[0, 0, 1, 1]], [0.5], [1], [2]))


def population(images: int, seed: int) -> tuple[GroundTruth, list[Detections]]:
    """Draws independent images of one kind, and what two detectors see in them.

    Images are easy or hard for both detectors; a detector finds easy objects more precisely, with higher scores.
    """
    generator = np.random.default_rng(seed)
    normal = generator.normal
    hardness, counts = normal(0, 0.5, images), generator.poisson(6, images)
    image = np.repeat(np.arange(images), counts)
    total = len(image)
    place = 300.0 * (np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts))
    side = np.exp(normal(3.5, 0.5, total))
    real = np.stack([place, np.zeros(total), place + side, side], axis=1)
    labels, ease = generator.integers(0, 3, total), normal(0, 0.8, total) - hardness[image]
    truth = GroundTruth(real, labels, image, images=range(images), categories=range(3))
    lanes = []
    for skill in (1.0, 1.3):
        quality = skill + ease + normal(0, 0.6, total)
        moved = real + normal(0, 0.06, (total, 4)) * (np.exp(-0.4 * quality) * side)[:, None]
        moved = np.sort(moved.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        seen = quality > -1
        called = np.where(generator.random(total) < 0.1, generator.integers(0, 3, total), labels)
        stray = np.repeat(np.arange(images), generator.poisson(2 * np.exp(0.3 * hardness)))
        lanes.append(
            Detections(
                np.concatenate([moved[seen], np.tile([0.0, 1000.0, 30.0, 1030.0], (len(stray), 1))]),
                np.concatenate([(quality + normal(0, 0.7, total))[seen], normal(-0.3, 1, len(stray))]),
                np.concatenate([called[seen], generator.integers(0, 3, len(stray))]),
                np.concatenate([image[seen], stray]),
            )
        )
    return truth, lanes


@pytest.mark.slow
@needs_numba
def test_intervals_hold_the_ap_of_endlessly_many_images_as_often_as_they_say() -> None:
    # In 300 sets AP, AP50 and AP75 were held in .933, .920 and .920, their differences in .943, .950 and .947;
    # in 400 further sets (seeds from 5000, 1000 resamples) in .932, .915, .932 and .925, .922, .918.
    truth, lanes = population(100_000, 10**6)
    true = [evaluate(truth, lane, mode="reward", backend="numba") for lane in lanes]
    names = ("ap", "ap50", "ap75")
    held = np.zeros((2, 3))
    sets = 150
    for seed in range(sets):
        truth, (first, second) = population(200, seed)
        both = bootstrap_difference(truth, first, second, resamples=500, seed=seed, backend="numba")
        for column, name in enumerate(names):
            estimate, gain = getattr(both.first, name), getattr(both, name)
            expected = [getattr(report, name) for report in true]
            held[0, column] += estimate.low <= expected[0] <= estimate.high
            held[1, column] += gain.low <= expected[1] - expected[0] <= gain.high
    coverage = held / sets
    assert ((coverage >= 0.92) & (coverage <= 0.98)).all(), coverage.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_intervals_are_percentiles_moved_by_the_resamples_bias_and_by_aps_own(seed) -> None:
    truth, lane = random_set(60, 3, seed=seed)
    intervals = bootstrap(truth, lane, resamples=80)
    bias = intervals.samples.mean() - intervals.ap.value
    assert bias > 0.001
    low, high = np.quantile(intervals.samples, (0.025, 0.975))
    # Once for what a resample adds, and twice that for AP's own excess.
    assert (intervals.ap.low, intervals.ap.high) == pytest.approx((low - 3 * bias, high - 3 * bias), abs=1e-12)


@pytest.mark.parametrize("images", [2, 3, 5, 12])
def test_intervals_of_ap_stay_between_0_and_1_and_say_what_made_them(images) -> None:
    for seed in range(6):
        truth, lane = random_set(images, 2, seed=seed)
        intervals = bootstrap(truth, lane, resamples=40, seed=seed)
        for estimate in (intervals.ap, intervals.ap50, intervals.ap75, *intervals.per_category.values()):
            assert math.isnan(estimate.low) or 0 <= estimate.low <= estimate.high <= 1
            assert (
                math.isnan(estimate.low) or estimate.method == "bootstrap over images, percentiles moved by AP's bias"
            )
    both = bootstrap_difference(truth, lane, lane, resamples=5)
    assert both.ap.method == "paired bootstrap over images, percentiles"


def test_the_limit_on_detections_holds_in_resamples_too() -> None:
    truth, lane = random_set(30, 3)
    for limit in (1, 2, 1000):
        expected = evaluate(truth, lane, max_detections=limit).ap
        assert bootstrap(truth, lane, resamples=2, limit=limit).ap.value == expected
