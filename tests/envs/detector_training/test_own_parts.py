"""Families, actions, rewards, features and knobs of somebody's own stand beside ours in the environment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Space
from torch import Tensor

from mapopt.envs import (
    DetectorTrainingEnv,
    DetectorTrainingVectorEnv,
    Feature,
    Instance,
    KnobAction,
    ShapesFamily,
    make_feature,
    make_reward,
    observe,
)
from mapopt.envs.detector_training.observations import features_of, observation_names
from mapopt.envs.detector_training.scene import scene_of
from mapopt.errors import ConfigError
from mapopt.losses import FocalLoss, Lists
from mapopt.registry import Choice
from mapopt.training import Budget, Decision, Range, Recipe, Round, Scores, TaskInfo

SMALL: dict[str, Any] = {"images": (16, 8, 8), "count": 3, "recipe": Recipe(batch_size=4)}
FAMILY = ShapesFamily(**SMALL)
BUDGET = Budget(images=8 * 3, rounds=3)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of these parts, as a user would name it."""
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    return "mine"


def make(**changes: Any) -> DetectorTrainingEnv:
    return DetectorTrainingEnv(**{"family": FAMILY, "budget": BUDGET, **changes})


# Rewards.


def at_75(scores: Scores, weight: float = 1.0) -> float:
    """Gain in AP75."""
    return weight * scores.ap75


class Both:
    """Gain in F1 and AP, which shows F1."""

    measures = ("operating_point",)
    features = ("f1",)

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def value(self, scores: Scores) -> float:
        return self.weight * scores.f1 + scores.ap


@pytest.mark.parametrize("given", [at_75, "mine:at_75", Choice(name="mine:at_75")])
def test_a_reward_may_be_a_function_of_scores(given: Any, mine: str) -> None:
    env = make(reward=given)
    env.reset(seed=0)
    _, reward, *_, info = env.step(env.baseline_action)
    assert reward == info["val_ap75"]


@pytest.mark.parametrize(
    "given", [Both(2.0), {"name": "mine:Both", "weight": 2.0}, Choice(name="mine:Both", settings={"weight": 2.0})]
)
def test_a_reward_may_be_a_class_that_says_what_it_needs(given: Any, mine: str) -> None:
    env = make(reward=given)
    assert env.observation_names[0] == "f1"
    env.reset(seed=0)
    _, reward, *_, info = env.step(env.baseline_action)
    assert reward == pytest.approx(2 * info["val_f1"] + info["val_ap"])


def test_a_function_takes_settings_as_well(mine: str) -> None:
    scores = Scores(ap=0.1, ap50=0.2, ap75=0.25, ar100=0.3, per_category=())
    assert make_reward(Choice(name="mine:at_75", settings={"weight": 4.0})).value(scores) == 1.0
    with pytest.raises(ConfigError, match="unknown setting of reward 'mine:at_75' 'wait': did you mean 'weight'"):
        make_reward(Choice(name="mine:at_75", settings={"wait": 4.0}))


# Features.


def images_left(history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
    """Fraction of the budget that is left."""
    return 1 - history[-1].images / budget.images


class Lag:
    """Val AP some rounds ago."""

    low, high = 0, 1

    def __init__(self, rounds: int = 1) -> None:
        self.rounds = rounds
        self.name = f"lag_{rounds}"

    def value(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
        return history[-1 - self.rounds].val.ap if len(history) > self.rounds else 0.0


ROUNDS = Feature("rounds", "rounds of the budget", 0, 1000, lambda history, task, budget: budget.rounds, at_start=True)


@pytest.mark.parametrize(
    "own",
    [
        (images_left, Lag(2), ROUNDS),
        ("mine:images_left", {"name": "mine:Lag", "rounds": 2}, "mine:ROUNDS"),
        (images_left, Choice(name="mine:Lag", settings={"rounds": 2}), ROUNDS),
    ],
    ids=["objects", "texts", "choices"],
)
def test_features_of_ones_own_stand_among_ours(own: tuple[Any, ...], mine: str) -> None:
    env = make(features=("ap", *own, "knobs"), knobs=("lr",))
    assert env.observation_names == ("ap", "images_left", "lag_2", "rounds", "knob_lr")
    assert env.observation_space.high.tolist() == [1.0, 5.0, 1.0, 1000.0, 1.0]
    first, _ = env.reset(seed=0)
    assert first[:4].tolist() == [0.0, 0.0, 0.0, 3.0]
    rows = [env.step(env.baseline_action) for _ in range(3)]
    assert [round(float(row[0][1]), 6) for row in rows] == [0.666667, 0.333333, 0.0]
    assert rows[-1][0][2] == np.float32(rows[0][4]["val_ap"])
    assert all(env.observation_space.contains(row[0]) for row in rows)


def test_an_agent_names_its_features_and_whoever_runs_it_brings_those_of_ones_own(mine: str) -> None:
    names = observation_names(("ap", images_left, "knob_lr"), ("lr",))
    env = make(features=("ap", images_left, "knob_lr"))
    env.reset(seed=0)
    seen, *_ = env.step(env.baseline_action)
    lanes = env.lanes
    features = features_of(names, ["mine:images_left"])
    assert np.array_equal(observe(lanes.histories[0], lanes.instance_of(0).task.info, BUDGET, features), seen)
    with pytest.raises(ConfigError, match="unknown feature 'images_left'"):
        features_of(names)


@pytest.mark.parametrize("name", ["sys:exit", "nowhere:feature"])
def test_a_text_that_an_agent_holds_is_not_imported(name: str) -> None:
    info = FAMILY.instance(0).task.info
    for call in (lambda: features_of(("ap", name)), lambda: observe([], info, BUDGET, (name,))):
        with pytest.raises(ConfigError, match=f"unknown feature '{name}'"):
            call()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "feature of type int has no value"),
        (Feature("ap", "", 0, 1, images_left), "feature 'ap' is one of ours: give your own another name"),
        (Feature("knob_x", "", 0, 1, images_left), "a feature is called 'knob_x': expected a name such as images_left"),
        (
            Feature("x", "", 1, 1, images_left),
            "feature 'x' has the range 1 to 1: expected two numbers, the lower one first",
        ),
        ("mine:nothing", "feature 'mine:nothing': unknown attribute 'nothing'"),
        (Choice(name="mine:images_left", settings={"x": 1}), "unknown setting of feature 'mine:images_left' 'x'"),
    ],
)
def test_what_is_no_feature_is_refused(given: Any, message: str, mine: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_feature(given)


@pytest.mark.parametrize("value", [float("nan"), None, "much"])
def test_a_feature_that_is_no_number_is_an_error(value: Any) -> None:
    env = make(features=(Feature("broken", "", 0, 1, lambda history, task, budget: value),))
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="feature 'broken' is not a number: expected one, such as 0"):
        env.step(env.baseline_action)


# Actions.


@dataclass(frozen=True, kw_only=True)
class Halve(KnobAction):
    """``Discrete(2)``: 1 halves every chosen knob of the baseline."""

    knobs: tuple[str, ...] = ("lr",)
    divisor: float = 2.0

    @property
    def baseline_action(self) -> np.int64:
        return np.int64(0)

    def space_of_actions(self) -> Space[Any]:
        return Discrete(2)

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        decided = self.baseline.decide(history, task, budget)
        lower = {name: decided.knobs.get(name) / self.divisor for name in self.knobs}
        return Decision(knobs=decided.knobs.replace(**lower)) if action else decided


@pytest.mark.parametrize(
    "given",
    [Halve(divisor=4.0), "mine:Halve", {"name": "mine:Halve", "divisor": 4.0}],
    ids=["object", "text", "mapping"],
)
def test_an_action_of_ones_own_sets_the_knobs(given: Any, mine: str) -> None:
    env = make(action=given)
    assert (env.action_space, env.action_names, env.baseline_action) == (Discrete(2), ("lr",), 0)
    base = []
    for action in (0, 1):
        env.reset(options={"instance": 0, "training_seed": 0})
        base.append(env.step(action)[4]["knobs"]["lr"])
    assert base[1] == pytest.approx(base[0] / (2.0 if given == "mine:Halve" else 4.0))


class Wrong:
    """No form of action: it decides nothing."""

    def space_of_actions(self) -> Space[Any]:
        return Box(-1, 1, (1,))


def test_what_is_no_action_is_refused(mine: str) -> None:
    with pytest.raises(ConfigError, match=r"action form 'Wrong' has no decide\(\.\.\.\): expected a form of action"):
        make(action=Wrong)
    with pytest.raises(ConfigError, match="scale was given for mine:Halve actions, which have none: leave it out"):
        make(action="mine:Halve", scale=3.0)


# Families.


@dataclass(frozen=True, kw_only=True)
class Calm(ShapesFamily):
    """A family that extends ours."""

    calm: float = 1.0

    def instance(self, number: int) -> Instance:
        return super().instance(number)


def test_a_family_of_ones_own_is_a_class_an_object_or_a_text(mine: str) -> None:
    settings = {"images": (16, 8, 8), "count": 3, "recipe": {"batch_size": 4}, "calm": 0.5}
    expected = Calm(**SMALL, calm=0.5)
    for given in (expected, {"name": "mine:Calm", **settings}, {"name": "mine:Calm", "settings": settings}):
        assert make(family=given).lanes.family == expected
    vector = DetectorTrainingVectorEnv(2, {"name": "mine:Calm", **settings}, budget={"images": 24, "rounds": 3})
    assert vector.lanes.family == expected
    assert make(family=Calm).lanes.family == Calm()


# Knobs.


class Sharp(FocalLoss):
    """A loss with a knob of its own."""

    knobs = {"sharpness": Range(0.5, 8.0, log=True)}
    sharpness = 2.0

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        sharpness = self.per_list("sharpness", lists)
        factor = sharpness.reshape(-1) if isinstance(sharpness, Tensor) else sharpness
        return {name: value * factor for name, value in super().evaluate(lists).items()}


@pytest.fixture
def sharp(mine: str) -> ShapesFamily:
    return ShapesFamily(images=(16, 8, 8), count=3, recipe=Recipe(batch_size=4, loss="mine:Sharp"))


@pytest.mark.parametrize("form", ["relative", "moving", "absolute", "discrete", "multi_discrete"])
def test_a_knob_that_a_loss_declares_is_set_like_ours(form: str, sharp: ShapesFamily) -> None:
    env = make(family=sharp, action=form, knobs=("lr", "sharpness"))
    action = {"discrete": 4, "multi_discrete": np.array([1, 2])}.get(form, np.array([0.0, 1.0], np.float32))
    losses = []
    for chosen in (env.baseline_action if form != "absolute" else np.zeros(2, np.float32), action):
        env.reset(options={"instance": 0, "training_seed": 3})
        observation, *_, info = env.step(chosen)
        losses.append((info["knobs"]["sharpness"], info["class_loss"]))
        seen = dict(zip(env.observation_names, observation.tolist(), strict=True))
        assert seen["knob_sharpness"] == pytest.approx(Range(0.5, 8.0, log=True).to_unit(info["knobs"]["sharpness"]))
    assert losses[0][0] == pytest.approx(2.0)
    expected = {"relative": 8.0, "moving": 8.0, "absolute": 8.0}.get(form, 2.0 * 4.0**0.25)
    assert losses[1][0] == pytest.approx(expected)
    assert losses[1][1] > 1.1 * losses[0][1]


def test_a_knob_of_ones_own_is_drawn_and_seen_like_ours(sharp: ShapesFamily) -> None:
    env = make(family=sharp, knobs=("sharpness",), features=("knobs", "knob_lr"), render_mode="ansi")
    assert env.observation_names == ("knob_sharpness", "knob_lr")
    first, _ = env.reset(seed=0)
    assert first[0] == pytest.approx(0.0, abs=1e-6)
    env.step(np.array([0.5], np.float32))
    (knob,) = scene_of(env.lanes, 0, with_image=False).knobs
    assert (knob.name, knob.values, knob.baseline) == ("sharpness", (pytest.approx(4.0),), (2.0,))
    assert "sharpness 4" in env.render()


@dataclass(frozen=True)
class Bare:
    """A family without a recipe of its own, which has to make an instance to know its knobs."""

    inner: ShapesFamily
    split: Any = "train"
    count: int = 3

    def instance(self, number: int) -> Instance:
        return self.inner.instance(number)


def test_a_knob_that_no_part_declares_is_refused_before_an_episode(sharp: ShapesFamily) -> None:
    assert make(family=Bare(sharp), knobs=("sharpness",)).action_names == ("sharpness",)
    for changes in ({"knobs": ("sharpnes",)}, {"features": ("knob_sharpnes",)}):
        for family in (sharp, Bare(sharp)):
            with pytest.raises(ConfigError, match=r"did you mean '(knob_)?sharpness'"):
                make(family=family, **changes)
    with pytest.raises(ConfigError, match="unknown knob 'sharpness'"):
        make(knobs=("sharpness",))
