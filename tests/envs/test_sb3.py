"""The form for stable-baselines3: the same episodes as alone, under every wrapper, for either environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO

from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.envs.post_processing.vector import PostProcessingVectorEnv
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.envs.wrappers import VectorDiscretize, VectorEpisodeLog, VectorFreezeKnobs, VectorRewardNoise
from mapopt.errors import ConfigError, WorkerError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=16, rounds=2)
KNOBS = ("lr", "augment")
SOURCE = SyntheticCandidates(count=3, images=(8, 8))
LANES = 2


def training(lanes: int = LANES, mode: str = "SameStep") -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode=mode)


def post_processing(lanes: int = LANES, mode: str = "SameStep") -> PostProcessingVectorEnv:
    return PostProcessingVectorEnv(lanes, SOURCE, length=2, autoreset_mode=mode)


def with_what_cannot_be_sent() -> PostProcessingVectorEnv:
    env = post_processing(1)
    env.secret = lambda: 0  # type: ignore[attr-defined]
    return env


SINGLES: dict[str, tuple[Callable[[], VectorEnv], Callable[[], gymnasium.Env]]] = {
    "DetectorTraining": (training, lambda: DetectorTrainingEnv(FAMILY, budget=BUDGET, knobs=KNOBS)),
    "PostProcessing": (post_processing, lambda: PostProcessingEnv(SOURCE, length=2)),
}

WRAPPERS: dict[str, Callable[[VectorEnv], VectorEnv]] = {
    "VectorFreezeKnobs": lambda env: VectorFreezeKnobs(env, {env.unwrapped.action_names[0]: 0.25}),  # type: ignore[attr-defined]
    "VectorDiscretize": lambda env: VectorDiscretize(env, choices="each"),
    "VectorRewardNoise": lambda env: VectorRewardNoise(env, 0.1),
    "VectorEpisodeLog": VectorEpisodeLog,
    "Gymnasium's": RecordEpisodeStatistics,
    "all": lambda env: VectorEpisodeLog(
        VectorRewardNoise(VectorDiscretize(VectorFreezeKnobs(env, {"lr": 0.1}), choices="each"), 0.1)
        if isinstance(env, DetectorTrainingVectorEnv)
        else VectorRewardNoise(env, 0.1)
    ),
}


def shown(info: dict[str, Any]) -> str:
    """All an info says but the seconds, whichever kind of number it says it in."""
    values = {
        name: shown(value) if isinstance(value, dict) else np.asarray(value).tolist()
        for name, value in info.items()
        if name != "seconds"
    }
    return repr(sorted(values.items()))


@pytest.mark.parametrize("name", SINGLES)
def test_lanes_play_the_episodes_of_single_environments_with_their_infos(name: str) -> None:
    make_many, make_one = SINGLES[name]
    many, singles = FleetVecEnv(make_many), [make_one() for _ in range(LANES)]
    many.seed(5)
    seen = np.asarray(many.reset())
    for lane, env in enumerate(singles):
        first, info = env.reset(seed=5 + lane)
        assert first.tobytes() == seen[lane].tobytes()
        assert shown(info) == shown(many.reset_infos[lane])
    many.action_space.seed(0)
    ended = 0
    for _ in range(5):
        actions = np.stack([many.action_space.sample() for _ in range(LANES)])
        seen, rewards, dones, infos = many.step(actions)  # type: ignore[assignment]
        for lane, env in enumerate(singles):
            alone, reward, terminated, truncated, info = env.step(actions[lane])
            assert rewards[lane] == np.float32(float(reward))
            assert dones[lane] == (terminated or truncated)
            assert infos[lane].pop("TimeLimit.truncated") is False
            if dones[lane]:
                ended += 1
                assert infos[lane].pop("terminal_observation").tobytes() == alone.tobytes()
                alone, begun = env.reset()
                assert shown(begun) == shown(many.reset_infos[lane]), "as stable-baselines3's own do"
            assert shown(infos[lane]) == shown(info)
            assert seen[lane].tobytes() == alone.tobytes()
    assert ended == 2 * LANES


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("make", [training, post_processing])
def test_every_wrapper_of_lanes_does_what_it_does_without(make: Callable[..., VectorEnv], wrapper: str) -> None:
    def wrapped() -> VectorEnv:
        return WRAPPERS[wrapper](make())

    interface, vector = FleetVecEnv(wrapped), wrapped()
    assert interface.action_space == vector.single_action_space
    interface.seed(3)
    assert np.array_equal(np.asarray(interface.reset()), vector.reset(seed=3)[0])
    vector.action_space.seed(1)
    for step in range(4):
        actions = vector.action_space.sample()
        seen, rewards, dones, infos = interface.step(actions)
        expected = vector.step(actions)
        assert np.array_equal(np.asarray(seen), expected[0])
        assert np.array_equal(rewards, expected[1].astype(np.float32))
        assert dones.all() == (step % 2 == 1)
        if "RewardNoise" in wrapper or wrapper == "all":
            quiet = [info["reward_without_noise"] for info in infos]
            assert quiet == expected[4]["reward_without_noise"].tolist()
            assert all("reward_without_noise" not in info for info in interface.reset_infos)
        if wrapper == "Gymnasium's" and dones.all():
            assert [info["episode"]["l"] for info in infos] == [2, 2]
        assert all(("terminal_observation" in info) == done for info, done in zip(infos, dones, strict=True))
    state = interface.get_state(1)
    assert np.array_equal(interface.set_state(0, state), np.asarray(seen)[1])
    assert interface.get_attr("observation_names") == [vector.unwrapped.observation_names] * LANES  # type: ignore[attr-defined]
    if "Log" in wrapper or wrapper == "all":
        assert len(interface.get_attr("log")[0]()) == 4


def test_a_log_keeps_what_wrappers_beneath_it_add_to_the_last_step() -> None:
    for mode in ("SameStep", "NextStep"):
        env = VectorEpisodeLog(VectorRewardNoise(training(mode=mode), 0.1))
        env.reset(seed=np.int64(2))  # type: ignore[arg-type]
        for _ in range(5):
            env.step(np.zeros((LANES, 2), np.float32))
        episodes = env.log().episodes
        assert len(episodes) == 2 * LANES
        assert [episode.seed for episode in episodes[:LANES]] == [2, 3]
        for episode in episodes:
            assert np.isfinite(episode.infos["reward_without_noise"]).all()
            assert set(episode.start) == {"instance", "seed", "description"}


def test_lanes_are_reset_with_options_of_their_own_once() -> None:
    for again in (False, True):
        env, plain = FleetVecEnv(partial(training, 3)), [SINGLES["DetectorTraining"][1]() for _ in range(3)]
        if again:
            env.seed(8)
            env.reset()
            for lane, single in enumerate(plain):
                single.reset(seed=8 + lane)
        else:
            env.seed(7)
        chosen: list[dict] = [{"instance": 2}, {"instance": 0, "training_seed": 5}, {"instance": 2}]
        env.set_options(chosen)
        seen = np.asarray(env.reset())
        for lane, single in enumerate(plain):
            first, info = single.reset(seed=None if again else 7 + lane, options=chosen[lane])
            assert shown(info) == shown(env.reset_infos[lane])
            assert first.tobytes() == seen[lane].tobytes()
        assert [info["instance"] for info in env.reset_infos] == [2, 0, 2]
        env.reset()
        assert [info["seed"] for info in env.reset_infos] == [single.reset()[1]["seed"] for single in plain]
    env.set_options({"instance": 3})
    env.reset()
    assert [info["instance"] for info in env.reset_infos] == [3, 3, 3]


def test_lanes_without_seeds_take_options_of_their_own_from_the_first_reset_on() -> None:
    env = FleetVecEnv(post_processing)
    env.set_options([{"instance": 2}, {"instance": 1}])
    assert np.asarray(env.reset()).shape == (LANES, *env.observation_space.shape)  # type: ignore[misc]
    assert [info["instance"] for info in env.reset_infos] == [2, 1]


def test_options_that_cannot_be_meant_are_refused() -> None:
    env = FleetVecEnv(post_processing)
    with pytest.raises(ConfigError, match="options of 1 lanes were given for 2: give one dictionary each"):
        env.set_options([{}])
    with pytest.raises(ConfigError, match="'reset_mask' was given, but a reset is one of all lanes here"):
        env.set_options({"reset_mask": np.ones(2, bool)})
    env.set_options({"instances": 1})
    with pytest.raises(ConfigError, match="instances"):
        env.reset()
    with pytest.raises(ConfigError, match=r"autoreset_mode is .*NEXT_STEP.*: stable-baselines3 needs 'SameStep'"):
        FleetVecEnv(lambda: VectorRewardNoise(post_processing(mode="NextStep"), 0.1))
    with pytest.raises(AttributeError, match="has the attribute 'nothing'"):
        env.get_attr("nothing")


def test_ppo_learns_on_post_processing() -> None:
    env = FleetVecEnv(lambda: VectorRewardNoise(post_processing(), 0.01))
    model = PPO("MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, seed=0, device="cpu")
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(16)
    assert model.num_timesteps == 16
    assert any((old != new).any() for old, new in zip(before, model.policy.parameters(), strict=True))


@pytest.mark.slow
def test_a_worker_that_fails_leaves_no_reply_behind_and_one_that_has_ended_is_reported() -> None:
    env = FleetVecEnv(with_what_cannot_be_sent, workers=2)
    try:
        env.seed(0)
        first = np.asarray(env.reset())
        env.set_options([{"instance": 99}, {"instance": 1}])
        with pytest.raises(ConfigError, match="99"):
            env.reset()
        env.seed(0)
        env.set_options()
        assert np.array_equal(np.asarray(env.reset()), first)
        bad = np.zeros((2, *env.action_space.shape), np.float32)  # type: ignore[misc]
        bad[0] = np.nan
        with pytest.raises(ConfigError, match="finite"):
            env.step(bad)
        assert env.get_attr("num_envs") == [1, 1]
        with pytest.raises(RuntimeError, match="reply to 'get' cannot be sent to another process"):
            env.get_attr("secret")
        assert env.get_attr("num_envs") == [1, 1]
        env._workers[0]._process.kill()  # type: ignore[union-attr]
        with pytest.raises(WorkerError, match=r"a worker's process has ended \(killed by SIGKILL, as systems do when"):
            env.step(np.zeros_like(bad))
        with pytest.raises(WorkerError, match="has ended"):
            env.reset()
    finally:
        env.close()


def test_what_makes_no_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"make is of type int: expected a function that makes a vector environment"):
        FleetVecEnv(3)  # type: ignore[arg-type]
