"""The post-processing environment: the interface's rules, the reward's, and what may not be seen."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_for_gymnasium
from stable_baselines3 import DQN
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import mapopt.envs
from mapopt.envs.post_processing.actions import SettingSpace
from mapopt.envs.post_processing.candidates import CandidateInstance
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.errors import CheckpointError, ConfigError
from mapopt.postprocessing.scorer import Scorer
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.training.knobs import Knobs, ranges

FAMILY = SyntheticCandidates(count=3, images=(8, 8))
FORMS = ["absolute", "discrete"]
REWARDS = ["ap", "f1", "lrp"]


def play(env: gymnasium.Env, actions: list[Any], **reset: Any) -> list[tuple]:
    observation, info = env.reset(**reset)
    rows: list[tuple] = [(observation, 0.0, False, info)]
    for action in actions:
        observation, reward, terminated, _, info = env.step(action)
        rows.append((observation, reward, terminated, info))
    return rows


def some_actions(env: gymnasium.Env, count: int, seed: int = 0) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("action", FORMS)
def test_both_checkers_find_nothing_to_say(action: str, reward: str) -> None:
    for check in (check_for_gymnasium, check_for_sb3):
        env = gymnasium.make("mapopt/PostProcessing-v0", family=FAMILY, action=action, reward=reward, length=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check(env.unwrapped)
        assert check is check_for_sb3 or env.spec is not None


def test_registration_imports_no_torch_and_making_one_takes_no_time() -> None:
    program = (
        "import sys, mapopt.envs, gymnasium; assert 'torch' not in sys.modules; assert 'numba' not in sys.modules; "
        "env = gymnasium.make('mapopt/PostProcessing-v0'); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("action", FORMS)
def test_the_same_seed_and_actions_give_the_same_episode(action: str) -> None:
    envs = [PostProcessingEnv(FAMILY, action=action, reward="f1", length=5) for _ in range(2)]  # type: ignore[arg-type]
    actions = some_actions(envs[0], 5)
    for first, second in zip(*(play(env, actions, seed=4) for env in envs), strict=True):
        assert np.array_equal(first[0], second[0])
        assert first[1:] == second[1:]


@pytest.mark.parametrize("reward", REWARDS)
def test_rewards_add_up_to_the_value_of_the_last_setting_less_that_of_the_default(reward: str) -> None:
    env = PostProcessingEnv(FAMILY, reward=reward, length=6)  # type: ignore[arg-type]
    rows = play(env, some_actions(env, 6), options={"instance": 1})
    scorer = Scorer(FAMILY.instance(1).val)
    start, last = (
        scorer.score(setting)
        for setting in (PostProcessingSettings.of(Knobs(), 3), PostProcessingSettings.from_dict(rows[-1][3]["knobs"]))
    )
    values = [{"ap": score.ap, "f1": score.f1, "lrp": 1 - score.lrp}[reward] for score in (start, last)]
    assert sum(row[1] for row in rows) == pytest.approx(values[1] - values[0], abs=1e-12)
    assert rows[0][3]["value"] == values[0]
    assert [row[2] for row in rows] == [False] * 6 + [True]


def test_test_images_are_reported_at_the_end_and_change_nothing_else() -> None:
    class Swapped(SyntheticCandidates):
        def instance(self, number: int) -> CandidateInstance:
            mine = super().instance(number)
            return replace(mine, test=FAMILY.instance((number + 1) % 3).test)

    envs = [PostProcessingEnv(family, reward="f1", length=4) for family in (FAMILY, Swapped(count=3, images=(8, 8)))]
    actions = some_actions(envs[0], 4)
    mine, other = (play(env, actions, seed=1, options={"instance": 0}) for env in envs)
    for first, second in zip(mine[:-1], other[:-1], strict=True):
        assert np.array_equal(first[0], second[0])
        assert first[1:] == second[1:]
        assert not [name for name in first[3] if "test" in name]
    assert np.array_equal(mine[-1][0], other[-1][0])
    assert mine[-1][1] == other[-1][1]
    tested = {name: value for name, value in mine[-1][3].items() if name.startswith("test_")}
    assert sorted(tested) == ["test_ap", "test_f1", "test_gain", "test_lrp", "test_value"]
    assert all(other[-1][3][name] != value for name, value in tested.items())
    scorer = Scorer(FAMILY.instance(0).test)
    score, start = (
        scorer.score(PostProcessingSettings.from_dict(mine[-1][3]["knobs"])),
        scorer.score(PostProcessingSettings.of(Knobs(), 3)),
    )
    assert tested["test_value"] == tested["test_f1"] == score.f1
    assert tested["test_gain"] == score.f1 - start.f1


def test_an_absolute_action_sets_every_number_on_its_knobs_scale() -> None:
    env = PostProcessingEnv(FAMILY, length=2)
    action = np.array([-0.5, 0.25, 0.0, -1.0, 1.0, 3.0, -1.0, 1.0, 0.0], np.float32)
    setting = PostProcessingSettings.from_dict(play(env, [action], seed=0)[-1][3]["knobs"])
    assert setting.nms_iou == ranges()["nms_iou"].from_unit(-0.5)
    assert setting.soft_nms_sigma == ranges()["soft_nms_sigma"].from_unit(0.25)
    assert setting.detections == round(300**0.5)
    assert setting.score_thresholds == (0.0, 0.95, 0.95)
    assert setting.class_detections == (1, 300, round(300**0.5))
    assert env.action_names == tuple(setting.as_dict())


def test_a_discrete_action_moves_one_number_by_a_step_and_stops_at_the_end() -> None:
    env = PostProcessingEnv(FAMILY, action="discrete", step_size=0.5, length=9)
    assert env.action_space == gymnasium.spaces.Discrete(19)
    rows = play(env, [0, 8, 8, 8, 8, 8, 7, 1], seed=0)
    settings = [PostProcessingSettings.from_dict(row[3]["knobs"]) for row in rows]
    thresholds = [setting.score_thresholds for setting in settings]
    assert thresholds[1] == thresholds[0] == (0.0, 0.0, 0.0)
    assert [values[0] for values in thresholds[2:8]] == pytest.approx([0.2375, 0.475, 0.7125, 0.95, 0.95, 0.7125])
    assert all(values[1:] == (0.0, 0.0) for values in thresholds)
    default = Knobs().nms_iou
    assert settings[7].nms_iou == default
    assert settings[8].nms_iou == pytest.approx(default - 0.25 * (0.95 - 0.1))
    assert rows[1][1] == 0.0


@pytest.mark.parametrize("reward", REWARDS)
def test_observations_are_named_and_mean_what_their_names_say(reward: str) -> None:
    env = PostProcessingEnv(FAMILY, reward=reward, length=8)  # type: ignore[arg-type]
    rows = play(env, some_actions(env, 8), seed=3)
    assert env.observation_space.shape == (len(env.observation_names),) == (16 + 13 * 3,)
    assert len(set(env.observation_names)) == len(env.observation_names)
    seen = [dict(zip(env.observation_names, row[0].tolist(), strict=True)) for row in rows]
    values = [row[3]["value"] for row in rows]
    for step, (entry, (observation, _, _, info)) in enumerate(zip(seen, rows, strict=True)):
        assert env.observation_space.contains(observation)
        assert entry["progress"] == pytest.approx(step / 8)
        assert entry["value"] == pytest.approx(values[step])
        assert entry["gain"] == pytest.approx(np.clip(10 * (values[step] - values[0]), -5, 5), abs=1e-5)
        change = values[step] - values[step - 1] if step else 0.0
        assert entry["change"] == pytest.approx(np.clip(10 * change, -5, 5), abs=1e-5)
        assert entry["below_best"] == pytest.approx(min(10 * (max(values[: step + 1]) - values[step]), 5), abs=1e-5)
        assert entry["gain_2_ago"] == pytest.approx(seen[step - 2]["gain"] if step >= 2 else 0.0, abs=1e-5)
        assert [entry["ap"], entry["f1"], entry["lrp"]] == pytest.approx([info["ap"], info["f1"], info["lrp"]])
        assert np.mean([entry[f"f1_{k}"] for k in range(3)]) == pytest.approx(info["f1"], abs=1e-6)
        assert np.mean([entry[f"ap_{k}"] for k in range(3)]) == pytest.approx(info["ap"], abs=1e-6)
        assert sum(entry[f"fraction_{k}"] for k in range(3)) == pytest.approx(1, abs=1e-6)
        assert entry["score_at_0.25_1"] >= entry["score_at_1_1"] >= entry["score_at_4_1"]
        unit = ranges()["score_threshold"].to_unit(info["knobs"]["score_threshold_2"])
        assert entry["knob_score_threshold_2"] == pytest.approx(unit, abs=1e-6)


@pytest.mark.parametrize("action", FORMS)
def test_a_state_is_gone_on_from_as_if_nothing_had_happened(action: str) -> None:
    env = PostProcessingEnv(FAMILY, action=action, reward="lrp", length=4)  # type: ignore[arg-type]
    actions = some_actions(env, 12)
    play(env, actions[:2], seed=8)
    state = env.get_state()

    def go_on() -> list[Any]:
        rows = [env.step(action) for action in actions[2:4]] + play(env, actions[4:8])
        return [[*row[0].tolist(), row[1]] for row in rows]

    first = go_on()
    play(env, actions[8:10], seed=5)
    seen = env.set_state(state)
    assert env.observation_space.contains(seen)
    assert go_on() == first


def test_thresholds_pay_under_f1_and_never_under_ap() -> None:
    for number in range(3):
        scorer = Scorer(SyntheticCandidates().instance(number).val)
        default = PostProcessingSettings.of(Knobs(), 3)
        best = {"ap": 0.0, "f1": 0.0}
        for threshold in np.linspace(0.05, 0.9, 18).tolist():
            score = scorer.score(replace(default, score_thresholds=(threshold,) * 3))
            best = {name: max(value, getattr(score, name)) for name, value in best.items()}
        start = scorer.score(default)
        assert best["ap"] <= start.ap
        assert best["f1"] > start.f1 + 0.05


def test_an_agent_of_stable_baselines_learns_from_it() -> None:
    env = PostProcessingEnv(FAMILY, action="discrete", reward="f1", length=4)
    agent = DQN("MlpPolicy", env, seed=0, learning_starts=8, batch_size=8, policy_kwargs={"net_arch": [8]})
    agent.learn(32)
    assert agent.num_timesteps == 32


def test_rendering_is_one_line() -> None:
    env = PostProcessingEnv(FAMILY, reward="f1", render_mode="ansi", length=2)
    env.reset(seed=0)
    env.step(np.float32([0, -1, 0, 0, 0, 0, 0, 1, 1]))
    line = env.render()
    assert line is not None
    assert line.startswith("step 1/2: f1 0.")
    assert line.endswith(
        "; nms_iou 0.53, soft_nms_sigma 0.00, detections 17 (of classes 17 300 300), score thresholds 0.47 0.47 0.47"
    )
    assert PostProcessingEnv(FAMILY).render() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "olrp"}, "unknown reward 'olrp': did you mean 'lrp'"),
        ({"action": "absolut"}, "unknown action 'absolut': did you mean 'absolute'"),
        ({"length": 0}, "length is 0: expected at least one step"),
        ({"action": "discrete", "step_size": 0.0}, r"step_size is 0.0: expected a part of \[-1, 1\], such as 0.125"),
        ({"family": "synthetics"}, "unknown family of candidates 'synthetics': did you mean 'synthetic'"),
        ({"render_mode": "human"}, "render_mode is 'human': expected 'ansi', 'rgb_array' or None"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PostProcessingEnv(**{"family": FAMILY, **settings})


def test_misuse_is_answered_with_what_to_do() -> None:
    env = PostProcessingEnv(FAMILY, length=1)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.zeros(9))
    with pytest.raises(ConfigError, match=r"never reset and has no state: call reset\(\) first"):
        env.get_state()
    with pytest.raises(ConfigError, match="unknown reset option 'seed'"):
        env.reset(options={"seed": 1})
    for number in (3, -1, 1.5, "1"):
        with pytest.raises(
            ConfigError, match=f"reset option 'instance' is {number!r}: expected a whole number from 0 to 2"
        ):
            env.reset(options={"instance": number})
    env.reset(seed=0)
    for wrong in (np.zeros(8), np.full(9, np.nan)):
        with pytest.raises(ConfigError, match=r"an action of shape .*: expected \(9,\), finite, in \[-1, 1\]"):
            env.step(wrong)
    discrete = PostProcessingEnv(FAMILY, action="discrete")
    discrete.reset(seed=0)
    for number in (19, -1, 0.5):
        with pytest.raises(
            ConfigError, match=rf"an action of shape \(\), {number}: expected whole numbers from 0 to 18"
        ):
            discrete.step(number)


def test_the_package_names_both_environments() -> None:
    assert {mapopt.envs.POST_PROCESSING, mapopt.envs.DETECTOR_TRAINING} <= set(gymnasium.registry)


def test_a_family_may_be_given_by_its_name() -> None:
    assert PostProcessingEnv("synthetic").family == PostProcessingEnv().family == SyntheticCandidates()
    assert PostProcessingEnv(FAMILY).family == FAMILY


def test_what_does_not_move_keeps_its_value_exactly() -> None:
    space, bounds = SettingSpace(2), ranges()["nms_iou"]
    values = np.random.default_rng(0).uniform(0.1, 0.95, 500).tolist()
    assert any(bounds.from_unit(bounds.to_unit(value)) != value for value in values)
    for value in values:
        setting, before = replace(space.default, nms_iou=value), space.default_units
        before[0] = bounds.to_unit(value)
        units = before.copy()
        units[2:] = 0.5
        after = space.move(setting, before, units)
        assert (after.nms_iou, after.soft_nms_sigma) == (value, 0.0)
        assert after.detections != setting.detections
        assert space.move(setting, before, before) == setting


def test_infos_are_what_gymnasium_may_stack() -> None:
    info = play(PostProcessingEnv(FAMILY, length=1), [np.zeros(9)], seed=0)[-1][3]
    assert [*info["knobs"]] == [
        *("nms_iou", "soft_nms_sigma", "detections"),
        *(f"{name}_{k}" for name in ("score_threshold", "detections") for k in range(3)),
    ]
    assert all(type(value) in (int, float) for value in [*info["knobs"].values(), info["value"], info["test_gain"]])


def test_a_state_of_another_instance_or_length_is_refused_and_the_episode_goes_on() -> None:
    env = PostProcessingEnv(FAMILY, length=4)
    play(env, some_actions(env, 2), seed=0, options={"instance": 2})
    state = env.get_state()
    for strict, message in (
        (PostProcessingEnv(replace(FAMILY, split="eval"), length=4), "of other candidates than instance 2 has here"),
        (PostProcessingEnv(replace(FAMILY, classes=4), length=4), "of other candidates than instance 2 has here"),
        (PostProcessingEnv(replace(FAMILY, count=2), length=4), "is of instance 2 and this family has 2"),
        (PostProcessingEnv(FAMILY, length=5), "an episode of 4 steps and those here have 5: .* with length=4"),
    ):
        seen, before = strict.reset(seed=1)[0], strict.np_random.bit_generator.state
        with pytest.raises(CheckpointError, match=message):
            strict.set_state(state)
        assert strict.np_random.bit_generator.state == before
        assert np.array_equal(strict._lane.observe(), seen)
    with pytest.raises(CheckpointError, match=r"a state is of type int: expected what get_state\(\) returns"):
        env.set_state(3)  # type: ignore[arg-type]
    assert PostProcessingEnv(FAMILY, length=4).set_state(state).tobytes() == env.set_state(state).tobytes()
