"""Observations: named, in their ranges, and a function of the history alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.observations import (
    DEFAULT_FEATURES,
    needed_measures,
    observation_names,
    observation_space,
    observe,
)
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs, ranges

TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1))
BUDGET = Budget(images=800, rounds=10)
EVERYTHING = (*FEATURES, *(f"knob_{name}" for name in ranges()))


def played(aps: list[float], **changes: float) -> list[Round]:
    history: list[Round] = []
    for index, ap in enumerate(aps):
        interval = Interval(
            images=80,
            steps=20,
            seconds=1.0,
            class_loss=1.0 / (index + 1),
            box_loss=0.5,
            gradient_norm=2.0,
            gradient_norm_max=4.0,
            clipped=0.25,
            update_ratio=1e-2,
            diverged=False,
            gradient_ratio=1.0,
            weight_norm=10.0 * math.e**index,
        )
        val = Scores(ap=ap, ap50=2 * ap, ap75=ap, ar100=0.5, per_category=(ap, 3 * ap, -1.0), **changes)
        history.append(
            Round(
                index=index,
                knobs=Knobs(momentum=0.0),
                ramp_from=None,
                interval=interval,
                val=val,
                images=80 * (index + 1),
                evaluated=0,
                seconds=0.0,
            )
        )
    return history


def see(history: list[Round], name: str) -> float:
    return float(observe(history, TASK, BUDGET, [name])[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("progress", 3 / 10),
        ("ap", 0.25),
        ("ap_gain", 10 * (0.25 - 0.3)),
        ("ap_below_best", 10 * (0.3 - 0.25)),
        ("ap_trend", 10 * 0.25 / 3),
        ("ap_1_before", 0.3),
        ("ap_2_before", 0.1),
        ("ap_3_before", 0.0),
        ("ap_4_before", 0.0),
        ("ap50", 0.5),
        ("ap75_to_ap50", 0.5),
        ("ar100", 0.5),
        ("ap_spread", 0.25),
        ("class_loss_log", math.log(1 / 3)),
        ("class_loss_change", math.log(2 / 3)),
        ("box_loss_log", 0.0),
        ("box_loss_change", 0.0),
        ("gradient_norm_log", 0.0),
        ("gradient_spike", math.log(2)),
        ("clipped", 0.25),
        ("update_log", 1.0),
        ("epochs_log", math.log10(1 + 2.4)),
        ("gradient_ratio_log", 1.0),
        ("weight_norm_log", 2.0),
        ("calibration_error", 0.125),
        ("f1", 0.0625),
        ("best_f1", 0.5),
        ("lrp", 0.875),
        ("optimal_lrp", 0.75),
        ("knob_momentum", -1.0),
        ("knob_focal_gamma", -0.2),
    ],
)
def test_a_feature_is_what_its_name_says(name: str, expected: float) -> None:
    measured = {"calibration_error": 0.125, "f1": 0.0625, "best_f1": 0.5, "lrp": 0.875, "optimal_lrp": 0.75}
    assert see(played([0.1, 0.3, 0.25], **measured), name) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_every_feature_is_held_to_its_meaning_above() -> None:
    marks = test_a_feature_is_what_its_name_says.pytestmark  # type: ignore[attr-defined]
    tested = {name for name, _ in marks[0].args[1]}
    assert tested >= set(FEATURES)


def test_before_the_first_round_only_the_knobs_are_seen() -> None:
    seen = dict(zip(EVERYTHING, observe([], TASK, BUDGET, EVERYTHING), strict=True))
    assert seen["knob_lr"] == np.float32(ranges()["lr"].to_unit(0.1))
    assert all(value == 0 for name, value in seen.items() if not name.startswith("knob_"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"class_loss": math.inf, "box_loss": math.nan, "gradient_norm": math.nan, "gradient_norm_max": math.inf},
        {"class_loss": 0.0, "gradient_norm": 0.0, "update_ratio": 0.0, "gradient_ratio": math.inf},
        {"gradient_ratio": -1.0, "weight_norm": -1.0, "images": 10**12},
        {"diverged": True},
    ],
    ids=lambda change: ",".join(change) or "nothing",
)
def test_whatever_happens_is_seen_as_numbers_in_their_ranges(change: dict[str, float]) -> None:
    history = played([0.0, 1.0, 0.0])
    scores = Scores.failed(2, measures=("operating_point",))
    end = replace(history[-1], interval=replace(history[-1].interval, **change), val=scores)  # type: ignore[arg-type]
    space = observation_space(EVERYTHING)
    assert space.contains(observe([*history[:-1], end], TASK, BUDGET, EVERYTHING))


def test_a_feature_without_its_measure_is_an_error_that_says_how_to_measure() -> None:
    for name, measure in (("f1", "operating_point"), ("calibration_error", "calibration")):
        with pytest.raises(ConfigError, match=rf"'{name}' needs the measure '{measure}'.*measures=\('{measure}',\)"):
            see(played([0.1]), name)
        assert needed_measures(["ap", name, "knob_lr"]) == (measure,)
    assert needed_measures(DEFAULT_FEATURES) == ()


def test_the_default_features_are_all_that_cost_nothing_and_the_knobs_that_actions_set() -> None:
    names = observation_names(None, ("lr", "augment"))
    assert names == (*(name for name in FEATURES if FEATURES[name].measure is None), "knob_lr", "knob_augment")


def test_features_are_chosen_by_name() -> None:
    assert observation_names(("f1", "knobs", "ap"), ("lr",)) == ("f1", "knob_lr", "ap")
    with pytest.raises(ConfigError, match="unknown feature 'ap5': did you mean 'ap50'"):
        observation_names(("ap5",), ("lr",))
    with pytest.raises(ConfigError, match="each named once"):
        observation_names(("knobs", "knob_lr"), ("lr",))
    with pytest.raises(ConfigError, match="at least one"):
        observation_names((), ("lr",))
