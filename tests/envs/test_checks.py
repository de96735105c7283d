"""What every form of both environments refuses or clips, and in which words."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from mapopt.envs import (
    DetectorTrainingEnv,
    DetectorTrainingVectorEnv,
    EnvSettings,
    FreezeKnobs,
    PostProcessingEnv,
    PostProcessingEnvSettings,
    PostProcessingVectorEnv,
)
from mapopt.errors import ConfigError

TRAINING: dict[str, Any] = {
    "family": {"name": "shapes", "images": (12, 6, 6), "count": 4, "recipe": {"batch_size": 4}},
    "budget": {"images": 16, "rounds": 2},
    "knobs": ("lr", "augment"),
}
SETTINGS: dict[str, Any] = {"family": {"name": "synthetic", "count": 3, "images": (8, 8)}, "length": 3}
SINGLES = {"training": (DetectorTrainingEnv, TRAINING), "post-processing": (PostProcessingEnv, SETTINGS)}
VECTORS = {"training": (DetectorTrainingVectorEnv, TRAINING), "post-processing": (PostProcessingVectorEnv, SETTINGS)}
BOXES = [("training", "relative"), ("training", "absolute"), ("post-processing", "absolute")]
CHOICES = [("training", "discrete"), ("training", "multi_discrete"), ("post-processing", "discrete")]


def make(kind: str, action: str) -> Any:
    maker, arguments = SINGLES[kind]
    env = maker(**arguments, action=action)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(("kind", "action"), BOXES)
def test_a_number_outside_the_box_is_clipped_to_it_everywhere(kind: str, action: str) -> None:
    inside, outside = make(kind, action), make(kind, action)
    ends = np.resize(np.float32([1, -1]), inside.action_space.shape)
    first, second = inside.step(ends), outside.step(1e30 * ends)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1] == second[1]
    assert first[4]["knobs"] == second[4]["knobs"]
    vector = VECTORS[kind][0](2, **{**VECTORS[kind][1], "action": action})
    vector.reset(seed=[0, 0])
    seen, rewards, *_ = vector.step(np.stack([ends, 7 * ends]))
    assert seen[0].tobytes() == seen[1].tobytes()
    assert rewards[0] == rewards[1] == first[1]


@pytest.mark.parametrize(
    "wrong", ["1", None, [[0, 0], [0]], 1j, np.nan, object(), {"lr": 0}, np.zeros((1, 2)), ["0", "0"]]
)
@pytest.mark.parametrize(("kind", "action"), BOXES)
def test_an_action_that_is_no_row_of_finite_numbers_is_refused(kind: str, action: str, wrong: Any) -> None:
    env = make(kind, action)
    with pytest.raises(ConfigError, match=r"an action (of shape|is a list of unequal rows)"):
        env.step(wrong)
    env.step(np.zeros(env.action_space.shape))


@pytest.mark.parametrize("wrong", ["1", None, [[0, 0], [0]], 1.0, -1, 99, True, [-1, 0], [3, 3], [1.0, 1.0]])
@pytest.mark.parametrize(("kind", "action"), CHOICES)
def test_a_choice_that_there_is_not_is_refused(kind: str, action: str, wrong: Any) -> None:
    env = make(kind, action)
    with pytest.raises(
        ConfigError, match=r"an action (of shape .* expected whole numbers from 0|is a list of unequal)"
    ):
        env.step(wrong)
    env.step(env.action_space.sample())


@pytest.mark.parametrize("kind", VECTORS)
def test_lanes_want_an_action_each(kind: str) -> None:
    vector = VECTORS[kind][0](2, **VECTORS[kind][1])
    vector.reset(seed=0)
    for wrong in ("ab", None, 5, np.float32(0)):
        with pytest.raises(ConfigError, match=r"actions are .*: expected one for each of 2 environments"):
            vector.step(wrong)
    for rows in ([[0, 0], None], [[0] * 9, "x"]):
        with pytest.raises(ConfigError, match="an action of shape"):
            vector.step(rows)
    vector.step(vector.action_space.sample())


def test_a_wrapper_refuses_what_the_environment_refuses() -> None:
    env = FreezeKnobs(gymnasium.make("mapopt/DetectorTraining-v0", **TRAINING), ("lr",))
    env.reset(seed=0)
    for wrong in ("x", [[0], [0, 1]], None):
        with pytest.raises(ConfigError, match=r"an action (of shape|is a list of unequal)"):
            env.step(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budget": {"images": 6, "rounds": 2}},
            "a round of 3 images is no whole number of steps of 4: choose 8 images",
        ),
        ({"knobs": (5,)}, "knobs hold 5: expected names, such as 'lr'"),
        ({"scale": float("inf")}, "scale is inf: expected a finite factor above 1"),
        ({"scale": "4"}, "scale is '4': expected a finite factor above 1"),
        ({"action": "discrete", "step_size": "x"}, "step_size is 'x': expected more than 0 and at most 1"),
        ({"cost_per_image": "x"}, "cost_per_image is 'x': expected 0 or a positive number"),
        ({"cost_per_image": True}, "cost_per_image is True: expected 0 or a positive number"),
        ({"seconds_limit": "x"}, "seconds_limit is 'x': expected a positive number of seconds, or None"),
        ({"seconds_limit": float("nan")}, "seconds_limit is nan: expected a positive number of seconds, or None"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": None}, "device is None: expected 'cpu', 'cuda' or 'auto'"),
        ({"settings": {}}, r"settings are of type dict: expected EnvSettings\(...\), or keywords without it"),
        (
            {"settings": PostProcessingEnvSettings()},
            "settings are of type PostProcessingEnvSettings: expected EnvSettings",
        ),
    ],
)
def test_settings_of_training_are_validated_when_the_environment_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectorTrainingEnv(**{**TRAINING, **changes})
    with pytest.raises(ConfigError, match=message):
        DetectorTrainingVectorEnv(2, **{**TRAINING, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({"length": value}, "length is .*: expected at least one step")
            for value in (0, 2.5, "x", True, float("nan"))
        ],
        ({"action": "discrete", "step_size": "x"}, "step_size is 'x': expected a part of"),
        ({"action": "discrete", "step_size": float("nan")}, "step_size is nan: expected a part of"),
        ({"settings": EnvSettings()}, "settings are of type EnvSettings: expected PostProcessingEnvSettings"),
    ],
)
def test_settings_of_post_processing_are_validated_likewise(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PostProcessingEnv(**{**SETTINGS, **changes})
    with pytest.raises(ConfigError, match=message):
        PostProcessingVectorEnv(2, **{**SETTINGS, **changes})


@pytest.mark.parametrize("kind", VECTORS)
def test_numbers_and_modes_of_lanes_are_validated_likewise(kind: str) -> None:
    maker, arguments = VECTORS[kind]
    for count in (0, -1, 2.5, "x", True):
        with pytest.raises(ConfigError, match=r"num_envs is .*: expected at least one environment"):
            maker(count, **arguments)
    with pytest.raises(ConfigError, match="autoreset_mode is 'x': expected one of 'NextStep', 'SameStep', 'Disabled'"):
        maker(2, **arguments, autoreset_mode="x")
    for env in (maker(2, **arguments), SINGLES[kind][0](**arguments)):
        with pytest.raises(
            ConfigError, match=r"options are 5: expected a dictionary, such as \{'instance': 3\}, or None"
        ):
            env.reset(options=5)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_reward_that_gives_no_number_is_an_error(value: object) -> None:
    env = DetectorTrainingEnv(**TRAINING, reward=lambda scores: value)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=f"the reward's value is {value}: expected a number, such as 0"):
        env.step(np.zeros(2, dtype=np.float32))
