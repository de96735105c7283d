"""Many lanes at once: the same episodes as alone, in every autoreset mode, for Gymnasium and for stable-baselines3."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import A2C

from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.lanes import lane_info
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")


def make_vector(lanes: int, mode: str = "NextStep", **changes: Any) -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(
        lanes, **{"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, "autoreset_mode": mode, **changes}
    )


def shown(info: dict[str, Any]) -> str:
    """All an info says but the seconds, whichever kind of number it says it in."""
    values = {
        name: shown(value) if isinstance(value, dict) else np.asarray(value).tolist()
        for name, value in info.items()
        if name != "seconds"
    }
    return repr(sorted(values.items()))


@pytest.mark.parametrize("lanes", [2, 5])
@pytest.mark.parametrize(
    ("action", "reward"),
    [("relative", "gain"), ("absolute", "oLRP"), ("moving", "gain"), ("discrete", "f1"), ("multi_discrete", "log_gap")],
)
def test_a_lane_plays_the_episodes_that_it_would_play_alone(lanes: int, action: str, reward: str) -> None:
    vector = make_vector(lanes, "Disabled", action=action, reward=reward)
    vector.action_space.seed(3)
    actions = [vector.action_space.sample() for _ in range(BUDGET.rounds)]
    observations, infos = vector.reset(seed=5)
    rows = [vector.step(action) for action in actions]
    for lane in range(lanes):
        env = DetectorTrainingEnv(FAMILY, budget=BUDGET, knobs=KNOBS, action=action, reward=reward)
        first, info = env.reset(seed=5 + lane)
        assert np.array_equal(first, observations[lane])
        assert shown(info) == shown(lane_info(infos, lane))
        for step in range(BUDGET.rounds):
            seen, paid, terminated, truncated, info = env.step(actions[step][lane])
            assert np.array_equal(seen, rows[step][0][lane])
            assert (paid, terminated, truncated) == tuple(rows[step][part][lane] for part in (1, 2, 3))
            assert shown(info) == shown(lane_info(rows[step][4], lane))


def test_next_step_autoreset_spends_a_step_on_the_reset() -> None:
    vector = make_vector(2)
    vector.reset(seed=0)
    zero = np.zeros((2, 3))
    for step in range(BUDGET.rounds):
        _, _, terminated, _, infos = vector.step(zero)
        assert terminated.all() == (step == BUDGET.rounds - 1)
    assert infos["test_ap"].shape == (2,)
    observations, rewards, terminated, _, infos = vector.step(zero)
    assert not terminated.any()
    assert (rewards == 0).all()
    assert (observations[:, 0] == 0).all()
    assert sorted(lane_info(infos, 0)) == ["description", "instance", "seed"]


def test_same_step_autoreset_hands_over_the_final_observation() -> None:
    vector = make_vector(2, "SameStep")
    vector.reset(seed=0)
    for _ in range(BUDGET.rounds):
        observations, _, terminated, _, infos = vector.step(np.zeros((2, 3)))
    assert terminated.all()
    assert (observations[:, 0] == 0).all()
    assert infos["final_obs"][0][0] == 1.0
    assert infos["final_info"]["test_ap"].shape == (2,)
    assert "test_ap" not in infos


def test_without_autoreset_ended_lanes_wait_for_a_masked_reset() -> None:
    vector = make_vector(3, "Disabled", stagger=True)
    vector.reset(seed=0)
    zero = np.zeros((3, 3))
    _, _, terminated, truncated, _ = vector.step(zero)
    assert (terminated | truncated).tolist() == [False, False, True]
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"lanes \[2\]"):
        vector.step(zero)
    observations, infos = vector.reset(options={"reset_mask": np.array([False, False, True])})
    assert observations[:, 0] == pytest.approx([1 / 3, 1 / 3, 0.0])
    assert infos["_instance"].tolist() == [False, False, True]
    # A lane that begins anew by itself is not cut short again.
    ends = [vector.step(zero)[2:4] for _ in range(1)]
    assert ends[0][1].tolist() == [False, True, False]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_staggered_lanes_end_one_after_the_other_and_then_play_what_they_would_have(mode: str) -> None:
    def play(stagger: bool) -> tuple[list[list[bool]], list[list[list[bytes]]]]:
        vector = make_vector(3, mode, stagger=stagger)
        seen, _ = vector.reset(seed=0)
        episodes = [[[seen[lane].tobytes()]] for lane in range(3)]
        ended = []
        over = np.zeros(3, dtype=bool)
        for _ in range(9):
            seen, _, terminated, truncated, _ = vector.step(np.full((3, 3), 0.1))
            fresh = over if mode == "NextStep" else terminated | truncated
            over = terminated | truncated
            ended.append(over.tolist())
            for lane in range(3):
                if fresh[lane]:
                    episodes[lane].append([])
                episodes[lane][-1].append(seen[lane].tobytes())
        return ended, episodes

    default_ends, default = play(stagger=False)
    ends, staggered = play(stagger=True)
    assert default_ends[:3] == [[False] * 3, [False] * 3, [True] * 3]
    assert ends[:3] == [[False, False, True], [False, True, False], [True, False, False]]
    for lane in range(3):
        first = staggered[lane][0]
        assert first == default[lane][0][: len(first)]
        assert staggered[lane][1] == default[lane][1]


def test_episodes_that_are_named_and_those_of_a_reset_that_says_so_are_played_to_their_ends() -> None:
    vector, zero = make_vector(3, "Disabled", stagger=True), np.zeros((3, 3))
    for options in ({"instance": 1}, {"training_seed": 4}, {"stagger": False}):
        vector.reset(seed=0, options=options)
        truncated = [vector.step(zero)[3].any() for _ in range(BUDGET.rounds)]
        assert truncated == [False] * BUDGET.rounds
    with pytest.raises(ConfigError, match="reset option 'stagger' is 1: expected True or False"):
        vector.reset(options={"stagger": 1})
    plain = make_vector(3, "Disabled")
    plain.reset(seed=0, options={"stagger": True})
    assert plain.step(zero)[3].tolist() == [False, False, True]


def test_the_lanes_that_ended_are_tested_as_the_lanes_of_a_fleet_are() -> None:
    vector = make_vector(3, "Disabled", stagger=True)
    vector.reset(seed=0)
    _, _, _, truncated, infos = vector.step(np.zeros((3, 3)))
    assert truncated.tolist() == [False, False, True]
    assert infos["_test_ap"].tolist() == [False, False, True]
    assert infos["test_ap50"][2] == vector.lanes.fleet_of(2)[0].evaluate("test")[2].ap50


def test_every_lane_can_be_drawn() -> None:
    vector = make_vector(2, render_mode="ansi")
    vector.reset(seed=0)
    vector.step(np.zeros((2, 3)))
    lines = vector.render()
    assert lines is not None
    assert [line.split(":")[0] for line in lines] == ["round 1/3", "round 1/3"]
    assert make_vector(2).render() is None


@pytest.mark.slow
def test_two_processes_of_two_lanes_play_the_episodes_of_one_with_four() -> None:
    def play(lanes: int, workers: int) -> list[bytes]:
        env = FleetVecEnv(partial(make_vector, lanes, "SameStep"), workers=workers)
        try:
            env.seed(11)
            seen = [np.asarray(env.reset()).tobytes()]
            seen += [env.step(np.full((4, 3), 0.2, dtype=np.float32))[0].tobytes() for _ in range(2)]
            state = env.get_state(3)
            seen.append(env.set_state(0, state).tobytes())
            return seen
        finally:
            env.close()

    assert play(2, 2) == play(4, 1)


def test_stable_baselines3_sees_episodes_end_with_their_last_observation() -> None:
    env = FleetVecEnv(partial(make_vector, 2, "SameStep", stagger=True))
    env.seed(0)
    env.reset()
    lasts = []
    for _ in range(BUDGET.rounds):
        observations, _, dones, infos = env.step(np.zeros((2, 3), dtype=np.float32))
        lasts.append([info for done, info in zip(dones, infos, strict=True) if done])
        assert all("test_ap" not in info for done, info in zip(dones, infos, strict=True) if not done)
    assert [len(last) for last in lasts] == [0, 1, 1]
    assert [last[0]["TimeLimit.truncated"] for last in lasts[1:]] == [True, False]
    assert lasts[2][0]["terminal_observation"][0] == 1.0
    assert "test_ap" in lasts[2][0]
    assert observations[0, 0] == 0


@pytest.mark.parametrize("action", ["relative", "discrete", "multi_discrete"])
def test_stable_baselines3_learns_on_it(action: str) -> None:
    env = FleetVecEnv(partial(make_vector, 2, "SameStep", action=action))
    model = A2C("MlpPolicy", env, n_steps=3, seed=0)
    model.learn(12)
    assert model.num_timesteps == 12


def test_stable_baselines3_gets_a_picture_of_every_lane() -> None:
    env = FleetVecEnv(partial(make_vector, 2, "SameStep", render_mode="rgb_array"))
    env.reset()
    images = env.get_images()
    assert [image.ndim for image in images if image is not None] == [3, 3]
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape[0] * tiled.shape[1] >= 2 * images[0].shape[0] * images[0].shape[1]  # type: ignore[union-attr]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="autoreset_mode"):
        FleetVecEnv(partial(make_vector, 2))
    with pytest.raises(ConfigError, match="num_envs is 0: expected at least one environment"):
        make_vector(0)
    vector = make_vector(2)
    with pytest.raises(ConfigError, match="3 seeds were given for 2 environments"):
        vector.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match="reset_mask of shape"):
        vector.reset(options={"reset_mask": np.array([True])})
    vector.reset()
    with pytest.raises(ConfigError, match="3 actions were given for 2 environments"):
        vector.step(np.zeros((3, 3)))
    with pytest.raises(ConfigError, match="finite"):
        vector.step(np.full((2, 3), np.nan))
