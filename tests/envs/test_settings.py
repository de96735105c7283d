"""Settings of environments: one value, made of plain values as of objects, checked without anything heavy."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import gymnasium
import pytest
import yaml

import mapopt.envs
from mapopt.envs import (
    DetectorTrainingEnv,
    DetectorTrainingVectorEnv,
    EnvSettings,
    PostProcessingEnv,
    PostProcessingEnvSettings,
    PostProcessingVectorEnv,
    RelativeAction,
    RescueFamily,
    ShapesFamily,
    SyntheticCandidates,
)
from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, SCALE
from mapopt.errors import ConfigError
from mapopt.registry import Choice
from mapopt.training import Budget, Knobs, Recipe

ENV_KWARGS = """
family: {name: rescue, count: 9, images: [16, 8, 8], recipe: {batch_size: 4}, budgets: [{images: 8, rounds: 2}]}
budget: {images: 640, rounds: 4}
knobs: [lr, augment]
reward: f1
features: [ap, knobs]
"""


def test_all_arguments_fit_into_a_yaml_file() -> None:
    arguments = yaml.safe_load(ENV_KWARGS)
    env = gymnasium.make(mapopt.envs.DETECTOR_TRAINING, **arguments).unwrapped
    assert isinstance(env, DetectorTrainingEnv)
    family = RescueFamily(
        count=9, images=(16, 8, 8), recipe=Recipe(batch_size=4), budgets=(Budget(images=8, rounds=2),)
    )
    assert env.lanes.family == family
    assert env.lanes.budget == Budget(images=640, rounds=4)
    assert env.observation_names == ("ap", "knob_lr", "knob_augment")
    vector = DetectorTrainingVectorEnv(2, **arguments)
    assert vector.lanes.settings == env.lanes.settings == EnvSettings.of(**arguments)


def test_settings_and_keywords_beside_them_make_the_same_environment() -> None:
    settings = EnvSettings(family=ShapesFamily(count=2), knobs=("lr",), cost_per_image=1e-6)
    env = DetectorTrainingEnv(settings=settings, reward="final", render_mode="ansi")
    assert env.lanes.settings == replace(settings, reward="final")
    assert DetectorTrainingVectorEnv(2, "imbalanced", settings=settings).lanes.settings == replace(
        settings, family="imbalanced"
    )
    assert EnvSettings.of(settings) == settings


def test_an_agents_knobs_and_scale_have_one_default() -> None:
    action = EnvSettings().make_action()
    assert action == RelativeAction() == RelativeAction(knobs=DEFAULT_KNOBS, scale=SCALE)
    assert DEFAULT_KNOBS == ("lr", "augment", "assign_iou", "box_weight")
    assert SCALE == 4.0
    assert set(DEFAULT_KNOBS) <= set(Knobs().as_dict())


def test_settings_travel_to_other_processes() -> None:
    settings = EnvSettings.of(family={"name": "rescue", "count": 9}, features=["ap", "knobs"])
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.family == Choice(name="rescue", settings={"count": 9})
    assert EnvSettings.of(family={"name": "rescue"}).family == "rescue"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewrd": "gain"}, "unknown setting of the environment 'rewrd': did you mean 'reward'"),
        ({"budget": 640}, "budget is 640: expected a Budget, such as"),
        ({"budget": {"images": 640, "round": 4}}, "budget: unknown key 'round': did you mean 'rounds'"),
        ({"budget": {"images": 641, "rounds": 4}}, "images that divide by the rounds"),
        ({"family": "shape"}, "unknown family 'shape': did you mean 'shapes'.*; or module:attribute for your own"),
        ({"family": {"count": 9}}, r"family is \{'count': 9\}: expected a name, and settings beside it"),
        ({"family": 3}, "family of type int has no instance"),
        ({"action": "relativ"}, "unknown action form 'relativ': did you mean 'relative'"),
        ({"action": 3}, "action form of type int has no space_of_actions"),
        ({"reward": "gains"}, "unknown reward 'gains': did you mean 'gain'"),
        ({"reward": 3}, r"reward of type int has no value\(scores\)"),
        ({"cost_per_image": -1.0}, "cost_per_image is -1.0: expected 0 or a positive number"),
        ({"knobs": "lr"}, r"knobs is 'lr': expected a list of names, such as \('lr',\)"),
        ({"features": "ap"}, "features is 'ap': expected a list of names"),
        ({"features": ("mood",)}, "unknown feature 'mood'"),
        ({"features": ({"name": "mood"},)}, "unknown feature 'mood'"),
        ({"seconds_limit": 0}, "seconds_limit is 0: expected a positive number"),
    ],
)
def test_what_is_wrong_is_said_before_an_environment_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnvSettings.of(**changes)


def test_a_setting_of_a_named_family_is_looked_up_when_it_is_made() -> None:
    for settings, message in (
        ({"varity": 1}, "unknown setting of family 'shapes' 'varity': did you mean 'variety'"),
        ({"variety": 2}, "variety is 2. Expected a number from 0 to 1"),
        ({"recipe": {"batchsize": 4}}, "recipe of the family: unknown key 'batchsize': did you mean 'batch_size'"),
    ):
        with pytest.raises(ConfigError, match=message):
            DetectorTrainingEnv({"name": "shapes", **settings})


def test_post_processing_has_settings_of_its_own() -> None:
    family = {"name": "synthetic", "count": 2, "images": [4, 4]}
    settings = PostProcessingEnvSettings.of(family=family, action="discrete", step_size=0.5)
    env = PostProcessingEnv(settings=settings, length=4)
    assert env.family == SyntheticCandidates(count=2, images=(4, 4))
    vector = PostProcessingVectorEnv(2, settings=settings, reward="f1")
    assert vector.single_action_space == env.action_space
    for changes, message in (
        ({"lenght": 3}, "unknown setting of the environment 'lenght': did you mean 'length'"),
        ({"length": 0}, "length is 0: expected at least one step"),
        ({"reward": 3}, "reward of type int cannot be called: expected a function of a PostProcessingScore"),
        ({"action": 3}, "action of type int has no apply"),
        ({"family": 3}, "family of candidates of type int has no instance"),
    ):
        with pytest.raises(ConfigError, match=message):
            PostProcessingEnvSettings.of(**changes)
    with pytest.raises(ConfigError, match="step_size was given for absolute actions, which have none: leave it out"):
        PostProcessingEnv(step_size=0.5)


def fewer_boxes(score: Any, weight: float = 1.0) -> float:
    """A value of somebody's own."""
    return float(-weight * score.reported.sum())


class Weighted:
    """A value with a state."""

    def __init__(self, weight: float = 2.0) -> None:
        self.weight = weight

    def __call__(self, score: Any) -> float:
        return self.weight * score.ap


def test_a_reward_of_post_processing_may_be_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    family = SyntheticCandidates(count=2, images=(4, 4))
    for given, factor in (
        (fewer_boxes, -1.0),
        ("mine:fewer_boxes", -1.0),
        ({"name": "mine:fewer_boxes", "weight": 3.0}, -3.0),
    ):
        env = PostProcessingEnv(family, reward=given, render_mode="ansi")
        _, info = env.reset(seed=0)
        assert info["value"] % abs(factor) == 0
        assert info["value"] < 0
        assert "fewer_boxes" in (env.render() or "")
    for given in (Weighted, {"name": "mine:Weighted", "weight": 2.0}, Weighted(2.0)):
        _, info = PostProcessingEnv(family, reward=given).reset(seed=0)
        assert info["value"] == 2 * info["ap"]
    with pytest.raises(ConfigError, match="unknown setting of reward 'mine:fewer_boxes' 'wait': did you mean 'weight'"):
        PostProcessingEnv(family, reward={"name": "mine:fewer_boxes", "wait": 3.0})


@pytest.mark.parametrize(
    "module",
    ["mapopt.envs.detector_training.settings", "mapopt.envs.post_processing.settings", "mapopt.envs.families.registry"],
)
def test_settings_are_imported_without_anything_heavy(module: str) -> None:
    heavy = ("torch", "torchvision", "scipy", "matplotlib", "stable_baselines3", "numba")
    code = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []
