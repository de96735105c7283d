"""The vector form of post-processing: its lanes are single environments, and a wrong action is no half step."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.post_processing.vector import PostProcessingVectorEnv
from mapopt.errors import ConfigError

FAMILY = SyntheticCandidates(count=3, images=(8, 8))
FORMS = ["absolute", "discrete"]


@pytest.mark.parametrize("action", FORMS)
def test_a_lane_of_the_vector_is_a_single_environment(action: str) -> None:
    vector = PostProcessingVectorEnv(3, FAMILY, action=action, reward="f1", length=2)  # type: ignore[arg-type]
    singles = [PostProcessingEnv(FAMILY, action=action, reward="f1", length=2) for _ in range(3)]  # type: ignore[arg-type]
    vector.action_space.seed(0)
    observations, infos = vector.reset(seed=11)
    for lane, single in enumerate(singles):
        expected, info = single.reset(seed=11 + lane)
        assert np.array_equal(observations[lane], expected)
        assert infos["instance"][lane] == info["instance"]
    for turn in range(6):
        actions = vector.action_space.sample()
        observations, rewards, terminated, _, infos = vector.step(actions)
        for lane, single in enumerate(singles):
            if turn % 3 == 2:  # the step after the end begins the next episode
                (expected, info), reward, done = single.reset(), 0.0, False
            else:
                expected, reward, done, _, info = single.step(actions[lane])
                assert infos["f1"][lane] == info["f1"]
            assert np.array_equal(observations[lane], expected)
            assert (rewards[lane], terminated[lane]) == (reward, done)
            assert not done or infos["test_f1"][lane] == info["test_f1"]


def test_the_vector_keeps_gymnasiums_rules_of_autoreset() -> None:
    same = PostProcessingVectorEnv(2, FAMILY, length=1, autoreset_mode="SameStep")
    same.reset(seed=0)
    observations, _, terminated, _, infos = same.step(same.action_space.sample())
    assert terminated.all()
    assert (observations[:, same.observation_names.index("progress")] == 0).all()
    assert infos["final_obs"][1][same.observation_names.index("progress")] == 1
    assert infos["final_info"]["test_ap"][0] >= 0

    never = PostProcessingVectorEnv(2, FAMILY, length=1, autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded):
        never.step(never.action_space.sample())
    never.reset(seed=0)
    never.step(never.action_space.sample())
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"lanes \[0, 1\] need a reset"):
        never.step(never.action_space.sample())
    never.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"lanes \[1\] need a reset"):
        never.step(never.action_space.sample())
    assert isinstance(
        gymnasium.make_vec("mapopt/PostProcessing-v0", num_envs=2, family=FAMILY), PostProcessingVectorEnv
    )


def test_a_state_may_move_from_lane_to_lane() -> None:
    vector = PostProcessingVectorEnv(2, FAMILY, length=3)
    vector.reset(seed=0)
    observations, *_ = vector.step(vector.action_space.sample())
    assert np.array_equal(vector.set_state(1, vector.get_state(0)), observations[0])
    observations, rewards, *_ = vector.step(np.zeros((2, 9)))
    assert np.array_equal(observations[0], observations[1])
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(("action", "wrong"), [("absolute", np.nan), ("discrete", 19)])
def test_a_wrong_action_of_one_lane_leaves_all_lanes_where_they_were(action: str, wrong: float) -> None:
    envs = [PostProcessingVectorEnv(3, FAMILY, action=action, length=3) for _ in range(2)]  # type: ignore[arg-type]
    for env in envs:
        env.action_space.seed(0)
        env.reset(seed=0)
    actions = envs[0].action_space.sample()
    bad = actions.copy()
    bad[1] = wrong
    with pytest.raises(ConfigError, match="action"):
        envs[0].step(bad)
    for _ in range(5):
        ours, theirs = (env.step(actions) for env in envs)
        for mine, other in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(mine, other)


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_knobs_come_stacked(mode: gymnasium.vector.AutoresetMode) -> None:
    env = PostProcessingVectorEnv(2, FAMILY, length=2, autoreset_mode=mode)
    env.reset(seed=0)
    *_, infos = env.step(np.stack([np.zeros(9), np.ones(9)]))
    assert infos["knobs"]["detections"].tolist() == [17, 300]
    assert infos["knobs"]["score_threshold_1"].tolist() == pytest.approx([0.475, 0.95])


def test_a_reset_takes_seeds_as_the_other_environment_does() -> None:
    env = PostProcessingVectorEnv(3, SyntheticCandidates(count=1000, images=(2, 2)))
    first = env.reset(seed=[7, None, np.int64(9)])[1]["instance"]  # type: ignore[list-item]
    again = env.reset(seed=7)[1]["instance"]
    assert (first[0], first[2]) == (again[0], again[2])
    for seed in (-1, "7", [1, 2]):
        with pytest.raises(ConfigError, match="seed"):
            env.reset(seed=seed)  # type: ignore[arg-type]


def test_misuse_is_answered_with_what_to_do() -> None:
    vector = PostProcessingVectorEnv(2, FAMILY)
    with pytest.raises(ConfigError, match="3 actions were given for 2 environments"):
        vector.step(np.zeros((3, 9)))
    with pytest.raises(ConfigError, match=r"reset_mask of shape \(3,\): expected \(2,\) with at least one True"):
        vector.reset(options={"reset_mask": np.ones(3, bool)})
    with pytest.raises(ConfigError, match="render_mode is 'human': expected 'ansi', 'rgb_array' or None"):
        PostProcessingVectorEnv(2, FAMILY, render_mode="human")
    with pytest.raises(ConfigError, match="num_envs is 0: expected at least one"):
        PostProcessingVectorEnv(0, FAMILY)
