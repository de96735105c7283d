"""The summary says what the runs say, and what is not known is not a number."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import pytest

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import Cost
from mapopt.experiments.reporting.report import summarize
from mapopt.metrics.statistics import interquartile_mean


@pytest.fixture
def runs(make):
    """Three methods with four seeds; the agent is .05 better than the baseline on every seed, and costs more."""
    runs = []
    for seed, ap in enumerate((0.30, 0.34, 0.31, 0.37)):
        runs.append(make.run("baseline", seed, ap))
        runs.append(make.run("agent", seed, ap + 0.05, training=Cost(images=90_000, seconds=50.0, runs=9)))
        runs.append(make.run("constant", seed, ap - 0.1, status="diverged" if seed == 1 else "finished"))
    return runs


def _method(summary, name, task=0):
    return next(method for method in summary.tasks[task].methods if method.method == name)


def test_methods_come_best_first(runs):
    assert [method.method for method in summarize(runs).tasks[0].methods] == ["agent", "baseline", "constant"]


def test_the_order_of_the_runs_is_ignored(runs):
    assert summarize(runs, reference="baseline") == summarize(runs[::-1], reference="baseline")


def test_a_methods_numbers_are_interquartile_means_over_its_seeds(runs):
    baseline = _method(summarize(runs), "baseline")
    aps = [0.30, 0.34, 0.31, 0.37]
    assert baseline.seeds == (0, 1, 2, 3)
    assert baseline.ap.value == interquartile_mean(aps) == pytest.approx((0.31 + 0.34) / 2)
    assert baseline.ap.low < baseline.ap.value < baseline.ap.high
    assert baseline.ap50.value == pytest.approx(1.8 * (0.31 + 0.34) / 2)
    assert baseline.ap75.value == pytest.approx(0.9 * (0.31 + 0.34) / 2)
    assert baseline.ap50.high - baseline.ap50.low == pytest.approx(1.8 * (baseline.ap.high - baseline.ap.low))
    assert baseline.val_ap.value == pytest.approx((0.33 + 0.36) / 2)
    assert baseline.gap.value == pytest.approx(0.02)
    assert (baseline.images, baseline.evaluated, baseline.seconds) == (400, 130, 10)


def test_costs_are_stated_once_for_a_method_and_not_per_run(runs):
    agent = _method(summarize(runs), "agent")
    assert agent.search == Cost(images=4800, seconds=120.0, runs=12)
    assert agent.training == Cost(images=90_000, seconds=50.0, runs=9)
    assert _method(summarize(runs), "baseline").training == Cost()


def test_the_reference_is_compared_on_common_seeds(runs):
    summary = summarize(runs, reference="baseline")
    versus = _method(summary, "agent").versus
    assert versus.pairs == 4
    assert versus.difference.value == pytest.approx(0.05)
    assert versus.difference.low == pytest.approx(0.05)
    assert 0.5 < versus.improvement.value < 1
    assert _method(summary, "baseline").versus is None


def test_without_a_common_seed_there_is_no_difference_but_a_probability(make):
    runs = [make.run("baseline", seed, 0.3) for seed in (0, 1)] + [make.run("agent", seed, 0.4) for seed in (5, 6)]
    versus = _method(summarize(runs, reference="baseline"), "agent").versus
    assert versus.difference is None
    assert versus.pairs == 0
    assert versus.improvement.value == 1


def test_a_diverged_run_counts_as_zero_and_has_no_gap(runs):
    constant = _method(summarize(runs), "constant")
    assert constant.diverged == 1
    assert constant.ap.value == pytest.approx((0.20 + 0.21) / 2), "of 0, .20, .21 and .27"
    assert constant.gap.value == pytest.approx(0.02)


def test_a_method_that_always_diverged_has_no_gap_at_all(make):
    summary = summarize([make.run("ap", seed, status="diverged") for seed in range(3)])
    assert math.isnan(_method(summary, "ap").gap.value)
    assert summary.as_dict()["tasks"][0]["methods"][0]["gap"] == {
        "value": None,
        "low": None,
        "high": None,
        "method": "",
    }


def test_runs_that_stopped_by_themselves_are_counted(make):
    summary = summarize([make.run("plateau", seed, status="stopped" if seed else "finished") for seed in range(3)])
    assert _method(summary, "plateau").stopped == 2


def test_a_category_without_ground_truth_stays_undefined(make):
    runs = [make.run(seed=seed, status="diverged" if seed else "finished") for seed in range(3)]
    assert [run.test.per_category[2] for run in runs] == [-1, 0, 0]
    assert math.isnan(_method(summarize(runs), "baseline").per_category[2])


def test_the_rarest_category_is_reported_where_it_is_known(runs):
    task = summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4)}).tasks[0]
    assert task.rarest == "green"
    assert task.objects == (9, 2, 4)
    agent, baseline = task.methods[:2]
    assert baseline.rarest.value == baseline.per_category[1] == pytest.approx(0.9 * (0.31 + 0.34) / 2)
    assert baseline.rarest.high - baseline.rarest.low == pytest.approx(0.9 * (baseline.ap.high - baseline.ap.low))
    assert agent.versus.rarest.value == pytest.approx(0.9 * 0.05)
    assert agent.versus.rarest.low == pytest.approx(0.9 * 0.05), "it is the same on every seed"
    unknown = summarize(runs, reference="baseline").tasks[0]
    assert unknown.rarest is unknown.objects is unknown.methods[0].rarest is unknown.methods[0].versus.rarest is None


def test_a_rarest_category_without_ground_truth_has_no_interval_and_no_difference(runs):
    agent = _method(summarize(runs, reference="baseline", objects={"shapes": (9, 4, 2)}), "agent")
    assert math.isnan(agent.rarest.value)
    assert math.isnan(agent.rarest.low)
    assert agent.versus.rarest is None


@pytest.mark.parametrize(("objects", "imbalanced"), [((9, 4, 2), True), ((8, 4, 2), True), ((7, 3, 2), False)])
def test_a_task_is_imbalanced_where_the_rarest_has_less_than_half_of_the_mean(runs, objects, imbalanced):
    assert summarize(runs, objects={"shapes": objects}).tasks[0].imbalanced == imbalanced
    assert not summarize(runs).tasks[0].imbalanced


def test_numbers_of_objects_of_other_categories_are_refused(runs):
    with pytest.raises(ConfigError, match=r"numbers of objects of shapes are \(1, 2\): expected one per category, 3"):
        summarize(runs, objects={"shapes": (1, 2)})


def test_a_steps_time_is_the_median_over_all_rounds_of_all_runs(make, tmp_path):
    store = Store(tmp_path)
    for seed, seconds in enumerate((1.0, 3.0)):
        rounds = [
            replace(
                played,
                interval=replace(played.interval, steps=10 * (played.index > 0), seconds=seconds * played.index),
            )
            for played in make.rounds(4)
        ]
        store.write(make.run(seed=seed), rounds)
    # Steps of .1, .2, .3 and of .3, .6, .9 seconds; a round without a step is ignored.
    assert _method(summarize(store.runs("demo")), "baseline").step_seconds == pytest.approx(0.3)
    assert math.isnan(_method(summarize([make.run()]), "baseline").step_seconds)


def test_an_unknown_reference_is_refused_with_the_nearest(runs):
    with pytest.raises(ConfigError, match="unknown reference method 'baselin': did you mean 'baseline'"):
        summarize(runs, reference="baselin")


def test_no_run_is_refused():
    with pytest.raises(StoreError, match=r"no run to summarize: expected at least one .* run `mapopt compare` first"):
        summarize([])


def test_several_tasks_are_summed_up_over_the_methods_that_ran_on_all(make, runs):
    other = [
        make.run(method, seed, 0.6 + 0.01 * seed, task="cells") for method in ("agent", "baseline") for seed in (0, 1)
    ]
    summary = summarize(runs + other, reference="baseline")
    assert [task.task for task in summary.tasks] == ["cells", "shapes"]
    assert [method.method for method in summary.overall] == ["agent", "baseline"]
    agent = summary.overall[0]
    assert agent.runs == 6
    assert agent.versus.pairs == 6
    assert agent.versus.difference.value == pytest.approx((0 + 0.05 * 3) / 4), "middle four of 0, 0 and four times .05"
    assert summarize(runs).overall == ()


def test_regret_is_what_a_method_is_behind_the_best_on_a_task_and_seed(make):
    table = {("a", 0): (0.4, 0.2), ("a", 1): (0.3, 0.6), ("b", 0): (0.1, 0.1), ("b", 1): (0.0, 0.0)}
    runs = [
        make.run(method, seed, ap, task=task)
        for (task, seed), aps in table.items()
        for method, ap in zip(("agent", "baseline"), aps, strict=True)
    ]
    methods = {method.method: method for method in summarize(runs, reference="baseline").overall}
    assert methods["agent"].regret == pytest.approx(0.3)
    assert methods["baseline"].regret == pytest.approx(0.2)
    # Where nobody learned anything, everybody is as good as the best.
    assert methods["agent"].of_best.value == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert methods["baseline"].of_best.value == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert summarize(runs).as_dict()["overall"][0]["regret"] in (pytest.approx(0.3), pytest.approx(0.2))


def test_summary_json_is_strict_json_with_what_was_promised(runs):
    record = summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4)}).as_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["version"] == 4
    (task,) = record["tasks"]
    assert (task["rarest"], task["objects"]) == ("green", {"red": 9, "green": 2, "blue": 4})
    agent = task["methods"][0]
    assert agent["method"] == "agent"
    assert agent["seeds"] == [0, 1, 2, 3]
    for name in ("ap", "ap50", "ap75", "ar100", "rarest"):
        assert set(agent["test"][name]) == {"value", "low", "high", "method"}
    assert agent["versus_reference"]["rarest"]["value"] == pytest.approx(0.045)
    assert agent["step_seconds"] is None, "these runs are in no store"
    assert agent["test"]["per_category"]["blue"] is None
    assert agent["search"] == {"images": 4800, "seconds": 120.0, "runs": 12, "processor_seconds": None}
    assert agent["training"]["images"] == 90_000
    assert agent["versus_reference"]["pairs"] == 4
    assert task["methods"][1]["versus_reference"] is None


def test_a_single_seed_has_nulls_for_its_interval(make):
    record = summarize([make.run()]).as_dict()
    assert record["tasks"][0]["methods"][0]["test"]["ap"] == {"value": 0.3, "low": None, "high": None, "method": ""}


def test_rows_are_flat_and_have_everything_that_a_table_shows(runs):
    summary = summarize(runs, reference="baseline", objects={"shapes": (9, 4, 2)})
    agent, baseline, _ = summary.to_rows()
    assert (agent["experiment"], agent["task"], agent["method"], agent["runs"]) == ("demo", "shapes", "agent", 4)
    estimate = summary.tasks[0].methods[0].ap
    assert (agent["test_ap"], agent["test_ap_low"], agent["test_ap_high"]) == (
        estimate.value,
        estimate.low,
        estimate.high,
    )
    assert agent["difference"] == pytest.approx(0.05)
    assert (agent["search_runs"], agent["training_images"]) == (12, 90_000)
    assert math.isnan(agent["test_ap_rarest"])
    assert math.isnan(baseline["difference"])
    assert list(agent) == list(baseline)
    assert all(value is None or isinstance(value, str | int | float) for value in agent.values())


def test_a_dataframe_has_the_rows_where_pandas_is_installed(runs):
    pandas = pytest.importorskip("pandas")
    frame = summarize(runs).to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["method"].tolist() == ["agent", "baseline", "constant"]


def test_without_pandas_a_dataframe_is_refused_with_the_remedy(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r'needs pandas, which is not installed: pip install "mapopt\[pandas\]"'):
        summarize(runs).to_dataframe()


def test_the_rarest_third_is_a_mean_over_the_categories_with_the_fewest_objects(make):
    scores = (0.5, 0.1, 0.3, 0.7)
    runs = []
    for seed in range(4):
        run = make.run("baseline", seed, 0.3)
        test = replace(run.test, per_category=scores)
        runs.append(replace(run, categories=("a", "b", "c", "d"), test=test, val=test))
        better = replace(test, per_category=(0.5, 0.2, 0.4, 0.7))
        runs.append(replace(make.run("agent", seed, 0.3), categories=("a", "b", "c", "d"), test=better, val=test))
    summary = summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4, 8)})
    assert _method(summary, "baseline").rarest_third.value == pytest.approx(0.2), "two of four: b and c"
    assert _method(summary, "agent").versus.rarest_third.value == pytest.approx(0.1)
    assert _method(summary, "agent").versus.rarest.value == pytest.approx(0.1)
    assert _method(summarize(runs), "baseline").rarest_third is None


def test_the_limit_is_what_the_reference_would_gain_more_from(make):
    runs = []
    for seed in range(4):
        for method, boxes, ranking in (("baseline", 0.4, 0.6), ("agent", 0.8, 0.5)):
            run = make.run(method, seed, 0.3)
            test = replace(run.test, ap_perfect_boxes=boxes, ap_perfect_ranking=ranking, class_loss=1.5)
            runs.append(replace(run, test=test))
    summary = summarize(runs, reference="baseline")
    assert summary.tasks[0].limit == "class"
    assert summarize(runs, reference="agent").tasks[0].limit == "box"
    baseline = _method(summary, "baseline")
    assert (baseline.perfect_boxes.value, baseline.perfect_ranking.value) == pytest.approx((0.4, 0.6))
    assert baseline.class_loss == 1.5
    assert summarize([make.run()]).tasks[0].limit is None, "former runs did not keep it"
