"""What figures show is what the runs did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting import tables
from mapopt.experiments.reporting.report import summarize
from mapopt.metrics.statistics import interquartile_mean
from mapopt.training.knobs import Knobs


@pytest.fixture
def write(tmp_path, make):
    store = Store(tmp_path)

    def add(method="baseline", seed=0, ap=0.3, *, rounds=4, lr=0.1, drawn=True, **changes):
        diverged = changes.get("status") == "diverged"
        history = make.rounds(rounds, ap, lr, diverged=diverged)
        return store.write(make.run(method, seed, ap, **changes), history, make.drawn(seed) if drawn else None)

    return add


def _task(runs):
    return summarize(runs).tasks[0]


def test_a_learning_curve_is_the_interquartile_mean_of_val_ap_over_images(write):
    aps = (0.2, 0.3, 0.5, 0.9)
    runs = [write(seed=seed, ap=ap) for seed, ap in enumerate(aps)]
    (curve,) = tables.learning_curves(runs, _task(runs), against="images")
    np.testing.assert_array_equal(curve.x, [100, 200, 300, 400])
    np.testing.assert_allclose(curve.middle, interquartile_mean(aps) * np.array([0.25, 0.5, 0.75, 1]))
    assert (curve.low < curve.middle).all()
    assert (curve.middle < curve.high).all()


def test_the_same_curve_goes_over_seconds(write):
    runs = [write()]
    (curve,) = tables.learning_curves(runs, _task(runs), against="seconds")
    np.testing.assert_array_equal(curve.x, [2.5, 5, 7.5, 10])
    np.testing.assert_allclose(curve.middle, 0.3 * np.array([0.25, 0.5, 0.75, 1]))


def test_a_run_that_ended_early_keeps_its_last_value_in_the_curve(write):
    runs = [write(seed=0, rounds=2, ap=0.2, status="stopped"), write(seed=1, rounds=4, ap=0.4)]
    (curve,) = tables.learning_curves(runs, _task(runs), against="images")
    np.testing.assert_allclose(curve.middle, [(0.1 + 0.1) / 2, (0.2 + 0.2) / 2, (0.2 + 0.3) / 2, (0.2 + 0.4) / 2])


def test_a_diverged_run_pulls_its_curve_down_to_the_end(write):
    runs = [write(seed=0, rounds=2, status="diverged"), write(seed=1, rounds=4, ap=0.4)]
    (curve,) = tables.learning_curves(runs, _task(runs), against="images")
    np.testing.assert_allclose(curve.middle[1:], [0.2 / 2, 0.3 / 2, 0.4 / 2])


def test_only_the_knobs_that_moved_have_a_trajectory(write):
    runs = [write("baseline"), write("agent")]
    (trajectory,) = tables.trajectories(runs, _task(runs))
    assert trajectory.knob == "lr"
    assert trajectory.log
    assert {curve.method for curve in trajectory.curves} == {"agent", "baseline"}


def test_many_methods_that_do_the_same_have_a_trajectory_with_all_their_names(write):
    runs = [write(method, ap=ap) for method, ap in (("one", 0.3), ("two", 0.2), ("three", 0.1))]
    runs += [write("other", lr=0.2)]
    (trajectory,) = tables.trajectories(runs, _task(runs))
    assert {curve.label for curve in trajectory.curves} == {"one, two, three", "other"}
    runs = runs[:2]
    (trajectory,) = tables.trajectories(runs, _task(runs))
    assert [curve.label for curve in trajectory.curves] == ["one", "two"], "two can be told apart as stripes"


@pytest.mark.parametrize(("count", "names"), [(1, "aez"), (2, "abz"), (3, "abcz"), (4, "abcdz"), (5, "abcdez")])
def test_the_leading_methods_are_the_best_and_the_reference(make, count, names):
    runs = [make.run(method, 0, 0.9 - 0.1 * place) for place, method in enumerate("abcdez")]
    reference = "e" if count == 1 else "z"
    task = tables.leading(_task(runs), reference, count=count)
    expected = "ae" if count == 1 else names
    assert "".join(method.method for method in task.methods) == expected
    assert "".join(method.method for method in tables.leading(_task(runs), "a", count=2).methods) == "ab"
    assert "".join(method.method for method in tables.leading(_task(runs), None, count=2).methods) == "ab"


def test_an_own_knob_has_a_trajectory_of_the_methods_that_have_it(write, make, tmp_path):
    plain = write("baseline")
    rounds = []
    for played in make.rounds(3):
        knobs = replace(played.knobs, own={"margin": 1.0 + played.index})
        rounds.append(replace(played, knobs=knobs, ramp_from=None))
    own = Store(tmp_path).write(make.run("hinge"), rounds)
    margin = tables.trajectories([plain, own], _task([plain, own]))[-1]
    assert (margin.knob, margin.log) == ("margin", False)
    assert [curve.method for curve in margin.curves] == ["hinge"]
    assert (margin.curves[0].middle[0], margin.curves[0].middle[-1]) == (1.0, 3.0)


def test_a_trajectory_bends_and_jumps_where_the_knobs_did(make, tmp_path):
    rounds = []
    for played in make.rounds(2, lr=0.1):
        steady = played.knobs.replace(augment=0.5)
        low, high = steady.replace(lr=0.1), steady.replace(lr=0.4)
        rounds.append(replace(played, knobs=steady, ramp_from=low, via=((0.25, high), (0.75, high), (0.75, low))))
    run = Store(tmp_path).write(make.run("bent"), rounds)
    (trajectory,) = tables.trajectories([run], _task([run]))
    (curve,) = trajectory.curves
    assert trajectory.knob == "lr"
    first = curve.x <= 100
    shown = np.interp([0, 12.5, 25, 50, 74.9, 75.1], curve.x[first], curve.middle[first])
    np.testing.assert_allclose(shown, [0.1, 0.25, 0.4, 0.4, 0.4, 0.1], atol=1e-3)


def test_a_knob_that_moves_inside_a_round_alone_has_a_trajectory(make, tmp_path):
    rounds = [
        replace(played, knobs=Knobs(), ramp_from=Knobs(), via=((0.5, Knobs(augment=0.9)),)) for played in make.rounds(2)
    ]
    run = Store(tmp_path).write(make.run("bent"), rounds)
    assert [trajectory.knob for trajectory in tables.trajectories([run], _task([run]))] == ["augment"]


def test_a_trajectory_shows_the_ramp_within_a_round(write):
    runs = [write(rounds=2, lr=0.1)]
    (trajectory,) = tables.trajectories(runs, _task(runs))
    (curve,) = trajectory.curves
    half = len(curve.x) // 2
    assert (curve.x[0], curve.x[half - 1], curve.x[half], curve.x[-1]) == (0, 100, 100, 200)
    np.testing.assert_allclose(curve.middle[[0, half - 1, half, -1]], [0.1, 0.05, 0.05, 0.025])
    np.testing.assert_allclose(np.diff(curve.middle[:half], 2), 0, atol=1e-12)


def test_a_trajectorys_band_is_the_middle_half_of_the_runs_still_going(write):
    runs = [write(seed=seed, lr=lr, rounds=rounds) for seed, (lr, rounds) in enumerate([(0.1, 4), (0.2, 4), (0.3, 2)])]
    (trajectory,) = tables.trajectories(runs, _task(runs))
    (curve,) = trajectory.curves
    assert (curve.low[0], curve.middle[0], curve.high[0]) == pytest.approx((0.15, 0.2, 0.25))
    assert curve.middle[-1] == pytest.approx((0.1 + 0.2) / 2 / 16)


def test_final_scores_leave_diverged_runs_out_of_the_dots_but_not_of_the_mean(write):
    runs = [write(seed=0, ap=0.4), write(seed=1, status="diverged")]
    (row,) = tables.final_scores(runs, _task(runs), reference="baseline")
    assert row.values == (0.4,)
    assert row.diverged == 1
    assert row.ap.value == pytest.approx(0.2)
    assert row.reference


def test_scores_of_the_rarest_category_are_of_that_and_in_its_order(make):
    def run(method, seed, ap, rarest):
        made = make.run(method, seed, ap)
        return replace(made, test=replace(made.test, per_category=(ap, rarest, -1.0)))

    runs = [run("baseline", seed, 0.4, 0.1 + 0.01 * seed) for seed in range(3)]
    runs += [run("agent", seed, 0.3, 0.2 + 0.01 * seed) for seed in range(2)]
    runs += [make.run("agent", 2, status="diverged")]
    task = summarize(runs, reference="baseline", objects={"shapes": (5, 1, 9)}).tasks[0]
    agent, baseline = tables.rarest_scores(runs, task, reference="baseline")
    assert (agent.method, baseline.method) == ("agent", "baseline")
    assert agent.values == pytest.approx((0.2, 0.21))
    assert agent.ap.value == pytest.approx((0.2 + 0.21 + 0) / 3)
    assert agent.difference.value == pytest.approx((0.1 + 0.1 - 0.12) / 3)
    assert (baseline.difference, baseline.reference) == (None, True)
    assert tables.rarest_scores(runs, _task(runs), reference=None) == []
    undefined = summarize(runs, objects={"shapes": (5, 9, 1)}).tasks[0]
    assert tables.rarest_scores(runs, undefined, reference=None) == []


def test_overall_scores_are_those_on_every_task(make):
    runs = [make.run("baseline", seed, ap, task=task) for task, ap in (("a", 0.3), ("b", 0.2)) for seed in (0, 1)]
    runs += [make.run("agent", seed, ap, task=task) for task, ap in (("a", 0.5), ("b", 0.1)) for seed in (0, 1)]
    runs += [make.run("alone", 0, task="a")]
    agent, baseline = tables.overall_scores(summarize(runs, reference="baseline"))
    assert (agent.method, baseline.method) == ("agent", "baseline")
    assert [estimate.value for estimate in agent.by_task] == [0.5, 0.1]
    assert agent.overall.value == pytest.approx(0.3)
    assert agent.difference.value == pytest.approx((0.2 - 0.1) / 2)
    assert (baseline.difference, baseline.reference) == (None, True)


def test_profiles_are_fractions_of_runs_that_come_near_the_best(make):
    aps = {"baseline": {"a": (0.4, 0.2), "b": (0.1, 0.2)}, "agent": {"a": (0.3, 0.4), "b": (0.2, 0.0)}}
    runs = [
        make.run(method, seed, ap, task=task)
        for method, tasks in aps.items()
        for task, values in tasks.items()
        for seed, ap in enumerate(values)
    ]
    curves = {curve.method: curve for curve in tables.profiles(runs, summarize(runs, reference="baseline"), count=8)}
    # Of the best: the baseline's runs have 1, .5, .5, 1, the agent's .75, 1, 1, 0.
    at = {method: dict(zip(curve.x.round(2).tolist(), curve.middle, strict=True)) for method, curve in curves.items()}
    assert [at["baseline"][x] for x in (0.0, 0.5, 0.52, 1.0)] == [1.0, 1.0, 0.5, 0.5]
    assert [at["agent"][x] for x in (0.0, 0.02, 0.74, 0.76, 1.0)] == [1.0, 0.75, 0.75, 0.5, 0.5]
    assert all((curve.low <= curve.middle).all() and (curve.middle <= curve.high).all() for curve in curves.values())
    assert len(tables.profiles(runs, summarize(runs, reference="baseline"), count=0)) == 1


def test_pictures_show_the_ground_truth_first_and_as_many_of_the_strongest_boxes_as_objects(write):
    runs = [write("baseline", ap=0.3), write("agent", ap=0.4)]
    pictured = tables.picture_rows(runs, _task(runs))
    assert pictured is not None
    seed, rows = pictured
    assert seed == 0
    assert [row.label for row in rows] == ["ground truth", "agent", "baseline"]
    truth, agent = rows[0].pictures, rows[1].pictures
    assert truth[0].pixels.shape == (8, 12, 3)
    assert truth[0].scores is None
    np.testing.assert_array_equal(truth[0].boxes, [[1, 1, 5, 5]])
    assert truth[1].boxes.shape == (0, 4)
    np.testing.assert_array_equal(agent[0].boxes, [[1, 1, 5, 6]])
    np.testing.assert_array_equal(agent[0].scores, [0.9])
    # One object in all the pictures, so of this method one box.
    assert len(agent[1].labels) == 0
    assert rows[1].note == "AP 0.40"


def test_pictures_are_of_the_seed_that_the_largest_number_of_methods_have(write):
    runs = [write("baseline", 0), write("baseline", 3), write("agent", 3), write("agent", 7)]
    pictured = tables.picture_rows(runs, _task(runs))
    assert pictured is not None
    assert pictured[0] == 3


def test_runs_without_pictures_have_no_rows(write):
    runs = [write(drawn=False)]
    assert tables.picture_rows(runs, _task(runs)) is None
