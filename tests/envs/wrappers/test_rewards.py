"""Wrappers of rewards: noise that is the wrapper's own, and rewards less those of the baseline."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.wrappers import (
    RelativeToBaseline,
    RewardNoise,
    VectorRewardNoise,
)
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")
SOURCE = SyntheticCandidates(count=3, images=(8, 8))


def make(**changes: Any) -> gymnasium.Env:
    chosen = {"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes}
    return gymnasium.make("mapopt/DetectorTraining-v0", **chosen)


def make_vector(lanes: int, mode: str = "NextStep") -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode=mode)


def play(env: gymnasium.Env, actions: list[Any], **reset: Any) -> tuple[list[float], list[dict[str, Any]]]:
    """Returns the rewards and infos of an episode."""
    env.reset(**reset)
    rewards, infos = [], []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        infos.append(info)
        if terminated or truncated:
            break
    return rewards, infos


def test_noise_has_its_standard_deviation_and_leaves_the_training_alone() -> None:
    class Blank(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1, (1,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.zeros(1, dtype=np.float32), {}

        def step(self, action: Any) -> Any:
            return np.zeros(1, dtype=np.float32), 1.0, False, False, {}

    env = RewardNoise(Blank(), 0.5)
    env.reset(seed=0)
    noise = np.array([env.step(0)[1] for _ in range(4000)]) - 1.0
    assert abs(noise.mean()) < 4 * 0.5 / 4000**0.5
    assert noise.std() == pytest.approx(0.5, rel=0.05)

    actions = [np.full(3, 0.3, dtype=np.float32)] * 3
    noisy = play(RewardNoise(make(), 0.5), actions, seed=1)
    quiet = play(make(), actions, seed=1)
    assert [info["reward_without_noise"] for info in noisy[1]] == quiet[0]
    assert all(ours != theirs for ours, theirs in zip(noisy[0], quiet[0], strict=True))


def test_noise_goes_on_from_episode_to_episode_and_differs_from_seed_to_seed() -> None:
    env = RewardNoise(make(), 1.0)

    def noise(**reset: Any) -> list[float]:
        rewards, infos = play(env, [np.zeros(3, dtype=np.float32)] * 3, **reset)
        return [reward - info["reward_without_noise"] for reward, info in zip(rewards, infos, strict=True)]

    first, second, again, other = noise(seed=0), noise(), noise(seed=0), noise(seed=1)
    assert first == again
    assert len({tuple(rewards) for rewards in (first, second, other)}) == 3


def test_the_baseline_relative_to_itself_is_paid_nothing() -> None:
    rewards, _ = play(RelativeToBaseline(make()), [np.zeros(3, dtype=np.float32)] * 3, seed=4)
    assert rewards == [0.0, 0.0, 0.0]


def test_relative_rewards_are_the_own_less_the_baselines_of_the_same_instance_and_seed() -> None:
    start = {"instance": 2, "training_seed": 9}
    actions = [np.array([0.9, -0.9, 0.4], dtype=np.float32)] * 3
    own, base = (
        play(make(), actions, options=start)[0],
        play(make(), [0 * action for action in actions], options=start)[0],
    )
    env = RelativeToBaseline(make())
    for _ in range(2):
        rewards, infos = play(env, actions, options=start)
        assert rewards == [ours - theirs for ours, theirs in zip(own, base, strict=True)]
        assert [info["baseline_reward"] for info in infos] == base


def test_a_baseline_is_played_once_per_instance_and_seed_and_forgotten_in_time() -> None:
    class Counted(DetectorTrainingEnv):
        steps = 0

        def step(self, action: Any) -> Any:
            Counted.steps += 1
            return super().step(action)

    env = RelativeToBaseline(Counted(FAMILY, budget=BUDGET, knobs=KNOBS), remembered=1)

    def cost(seed: int) -> int:
        before = Counted.steps
        env.reset(options={"instance": 0, "training_seed": seed})
        return Counted.steps - before

    assert [cost(1), cost(1), cost(2), cost(1)] == [3, 0, 3, 3]


def test_an_episode_that_terminates_early_is_charged_the_whole_baseline() -> None:
    import torch

    start = {"instance": 0, "training_seed": 1}
    zero = np.zeros(3, dtype=np.float32)
    base = play(make(), [zero] * 3, options=start)[0]
    env = RelativeToBaseline(make())
    env.reset(options=start)
    total = float(env.step(zero)[1])
    with torch.no_grad():
        env.unwrapped.lanes.fleet_of(0)[0]._place[0][0].detector.weights[0] = float("nan")  # type: ignore[attr-defined]
    _, reward, terminated, *_ = env.step(zero)
    assert terminated
    assert total + float(reward) == pytest.approx(-sum(base))


@pytest.mark.parametrize("action", ["discrete", "multi_discrete"])
def test_the_baseline_of_choices_is_the_environments_own(action: str) -> None:
    env = RelativeToBaseline(make(action=action))
    baseline = env.unwrapped.baseline_action  # type: ignore[attr-defined]
    assert play(env, [baseline] * 3, seed=4)[0] == [0.0, 0.0, 0.0]
    assert any(play(env, [np.zeros_like(baseline) + 2] * 3, seed=4)[0])
    discrete = RelativeToBaseline(PostProcessingEnv(SOURCE, action="discrete", length=3))
    assert play(discrete, [0, 0, 0], seed=1)[0] == [0.0, 0.0, 0.0]


def test_where_no_action_is_the_baseline_one_has_to_be_given() -> None:
    without = [
        make(action="absolute"),
        PostProcessingEnv(SOURCE),
        gymnasium.make("Pendulum-v1"),
    ]
    for env in without:
        with pytest.raises(ConfigError, match=r"is the baseline, .*say which one is to be, as baseline=\.\.\."):
            RelativeToBaseline(env)
    bare = PostProcessingEnv(SOURCE, length=2)
    chosen = np.full(len(bare.action_names), 0.25, np.float32)
    env = RelativeToBaseline(bare, baseline=chosen)
    assert play(env, [chosen] * 2, seed=0)[0] == [0.0, 0.0]
    assert any(play(env, [-chosen] * 2, seed=0)[0])


def test_the_noise_of_lanes_follows_any_kind_of_seed_and_masks() -> None:
    def noise(env: VectorRewardNoise) -> list[float]:
        _, rewards, *_, infos = env.step(np.zeros((3, 3), np.float32))
        return (rewards - infos["reward_without_noise"]).tolist()

    env = VectorRewardNoise(make_vector(3, "Disabled"), 1.0)
    env.reset(seed=4)
    first = noise(env)
    for seed in (np.int64(4), [4, 5, 6], np.array([4, 5, 6])):
        env.reset(seed=seed)  # type: ignore[arg-type]
        assert noise(env) == first
    env.reset(seed=9, options={"reset_mask": np.array([False, True, False])})
    other = noise(env)
    env.reset(seed=[7, 10, 7])
    assert noise(env)[1] == other[1]
    env.reset(seed=4)
    assert [noise(env), noise(env)][1] == [other[0], noise_of(5, 2), other[2]]
    with pytest.raises(ConfigError, match="reset_mask of shape"):
        env.reset(options={"reset_mask": np.array([1, 0])})


def noise_of(seed: int, steps: int) -> float:
    """The noise of a single environment after some steps."""
    rewards, infos = play(RewardNoise(make(), 1.0), [np.zeros(3, np.float32)] * steps, seed=seed)
    return rewards[-1] - infos[-1]["reward_without_noise"]


def test_what_a_wrapper_of_rewards_cannot_do_is_said() -> None:
    with pytest.raises(ConfigError, match=r"deviation is -0.1: expected a finite number"):
        RewardNoise(make(), -0.1)
    with pytest.raises(ConfigError, match="expected one of Box"):
        RelativeToBaseline(make(), baseline=np.full(3, 2.0, dtype=np.float32))
    with pytest.raises(ConfigError, match="remembered is 0"):
        RelativeToBaseline(make(), remembered=0)

    class Nameless(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1, (1,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.zeros(1, dtype=np.float32), {}

    with pytest.raises(ConfigError, match="has nothing: expected 'instance', so that the baseline"):
        RelativeToBaseline(Nameless(), baseline=0).reset()
