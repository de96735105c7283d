"""Observations: named, in their ranges, and a function of the history alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mapopt.envs.detector_training.context import _KINDS
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.observations import (
    DEFAULT_FEATURES,
    GROUPS,
    needed_measures,
    observation_names,
    observation_space,
    observe,
)
from mapopt.envs.families import ShapesFamily
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.optimizers.table import OPTIMIZER_TABLE
from mapopt.training.recipe import Recipe

TASK = TaskInfo(
    name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1), optimizer="muon", loss="rank_sort"
)
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
            gradient_agreement=0.5,
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
        ("train_images_log", 0.0),
        ("budget_epochs_log", math.log10(1 + 8)),
        ("budget_steps_log", math.log10(200) - 2),
        ("classes_log", math.log10(2)),
        ("batch_log", math.log10(4) - 1),
        ("optimizer_adaptive", 0.0),
        ("optimizer_orthogonal", 1.0),
        ("optimizer_rate_free", 0.0),
        ("loss_error_rate", 1.0),
        ("class_loss_gap", math.log(0.5 * 3)),
        ("box_loss_gap", math.log(0.25 / 0.5)),
        ("step_to_lr_log", math.log10(1e-2 / 0.2) + 1),
        ("gradient_agreement", 0.5),
        ("knob_momentum", -1.0),
        ("knob_focal_gamma", -0.2),
    ],
)
def test_a_feature_is_what_its_name_says(name: str, expected: float) -> None:
    measured = {"calibration_error": 0.125, "f1": 0.0625, "best_f1": 0.5, "lrp": 0.875, "optimal_lrp": 0.75}
    measured |= {"class_loss": 0.5, "box_loss": 0.25}
    assert see(played([0.1, 0.3, 0.25], **measured), name) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_every_feature_is_held_to_its_meaning_above() -> None:
    marks = test_a_feature_is_what_its_name_says.pytestmark  # type: ignore[attr-defined]
    tested = {name for name, _ in marks[0].args[1]}
    assert tested >= set(FEATURES)


def test_before_the_first_round_only_the_knobs_are_seen() -> None:
    seen = dict(zip(EVERYTHING, observe([], TASK, BUDGET, EVERYTHING), strict=True))
    assert seen["knob_lr"] == np.float32(ranges()["lr"].to_unit(0.1))
    assert all(value == 0 for name, value in seen.items() if name in FEATURES and not FEATURES[name].at_start)
    history = played([0.1], class_loss=0.5, box_loss=0.5)
    for name in GROUPS["context"]:
        assert seen[name] == np.float32(see(history, name)), "it never changes"


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
    scores = replace(Scores.failed(2, measures=("operating_point",)), class_loss=0.0, box_loss=math.inf)
    end = replace(history[-1], interval=replace(history[-1].interval, **change), val=scores)  # type: ignore[arg-type]
    space = observation_space(EVERYTHING)
    assert space.contains(observe([*history[:-1], end], TASK, BUDGET, EVERYTHING))


def test_a_feature_without_its_measure_is_an_error_that_says_how_to_measure() -> None:
    for name, measure in (("f1", "operating_point"), ("calibration_error", "calibration")):
        with pytest.raises(ConfigError, match=rf"'{name}' needs the measure '{measure}'.*measures=\('{measure}',\)"):
            see(played([0.1]), name)
        assert needed_measures(["ap", name, "knob_lr"]) == (measure,)
    assert needed_measures(DEFAULT_FEATURES) == ()


def test_what_a_group_needs_is_measured_or_said() -> None:
    with pytest.raises(ConfigError, match="'class_loss_gap' needs the measure 'loss'"):
        see(played([0.1]), "class_loss_gap")
    (last,) = played([0.1])
    bare = replace(last, interval=replace(last.interval, gradient_agreement=None))
    with pytest.raises(ConfigError, match="'gradient_agreement' needs the measure 'gradient_agreement'"):
        see([bare], "gradient_agreement")
    assert see([replace(bare, interval=replace(bare.interval, steps=1))], "gradient_agreement") == 0.0
    diverged = replace(bare, interval=replace(bare.interval, diverged=True))
    assert [see([diverged], name) for name in ("gradient_agreement", "class_loss_gap", "box_loss_gap")] == [0.0] * 3
    assert needed_measures(GROUPS["losses"] + GROUPS["steps"]) == ("gradient_agreement", "loss")


def test_a_group_stands_for_its_features_and_is_not_shown_by_default() -> None:
    names = observation_names(("default", "context", "steps"), ("lr",))
    assert names == (*observation_names(None, ("lr",)), *GROUPS["context"], *GROUPS["steps"])
    assert not set(observation_names(None, ("lr",))) & {*GROUPS["context"], *GROUPS["steps"], *GROUPS["losses"]}
    assert len(GROUPS["context"]) == 9
    with pytest.raises(ConfigError, match="did you mean 'context'"):
        observation_names(("contxt",), ("lr",))
    with pytest.raises(ConfigError, match="'steps' stands for several"):
        observe([], TASK, BUDGET, ["steps"])


@pytest.mark.parametrize(
    ("optimizer", "loss", "expected"),
    [
        ("adamw", "focal", (1, 0, 0, 0)),
        ("dog", "ap", (0, 0, 1, 1)),
        ("sgd", "mal", (0, 0, 0, 0)),
        ("mine:Own", "mine:Loss", (0, 0, 0, 0)),
    ],
)
def test_the_kinds_of_optimizer_and_loss_are_seen(optimizer: str, loss: str, expected: tuple[int, ...]) -> None:
    task = replace(TASK, optimizer=optimizer, loss=loss)
    assert tuple(observe([], task, BUDGET, GROUPS["context"][-4:]).astype(int).tolist()) == expected


def test_every_optimizer_of_ours_has_a_kind_or_is_plain() -> None:
    assert {*_KINDS} | {"sgd"} == set(OPTIMIZER_TABLE)


def test_an_environment_shows_a_task_as_it_is() -> None:
    family = ShapesFamily(images=(8, 4, 4), count=1, recipe=Recipe(batch_size=4, optimizer="adamw", loss="ap"))
    features = ("context", "losses", "steps")
    env = DetectorTrainingEnv(family, budget=Budget(images=16, rounds=2), features=features)
    first, _ = env.reset(seed=0)
    seen = dict(zip(env.observation_names, first, strict=True))
    assert (seen["optimizer_adaptive"], seen["loss_error_rate"]) == (1.0, 1.0)
    assert seen["budget_epochs_log"] == np.float32(math.log10(3))
    assert env.lanes.measures == ("gradient_agreement", "loss")
    last = env.step(env.action_space.sample() * 0)[0]
    seen = dict(zip(env.observation_names, last, strict=True))
    assert seen["gradient_agreement"] != 0.0
    assert abs(seen["class_loss_gap"]) < 2


def test_the_default_features_are_all_that_cost_nothing_and_the_knobs_that_actions_set() -> None:
    names = observation_names(None, ("lr", "augment"))
    free = (name for name in FEATURES if FEATURES[name].measure is None and not FEATURES[name].group)
    assert names == (*free, "knob_lr", "knob_augment")


def test_features_are_chosen_by_name() -> None:
    assert observation_names(("f1", "knobs", "ap"), ("lr",)) == ("f1", "knob_lr", "ap")
    with pytest.raises(ConfigError, match="unknown feature 'ap5': did you mean 'ap50'"):
        observation_names(("ap5",), ("lr",))
    with pytest.raises(ConfigError, match="each named once"):
        observation_names(("knobs", "knob_lr"), ("lr",))
    with pytest.raises(ConfigError, match="at least one"):
        observation_names((), ("lr",))
