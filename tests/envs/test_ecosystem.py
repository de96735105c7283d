"""What others call: the ways of stable-baselines3 and Gymnasium to make, spread, record and copy environments."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

import mapopt.envs
from mapopt.envs import DetectorTrainingVectorEnv, FleetVecEnv, PostProcessingVectorEnv
from mapopt.envs.sb3 import _Remote
from mapopt.errors import ConfigError

ARGUMENTS: dict[str, dict[str, Any]] = {
    mapopt.envs.DETECTOR_TRAINING: {
        "family": {"name": "shapes", "images": (12, 6, 6), "count": 4, "recipe": {"batch_size": 4}},
        "budget": {"images": 16, "rounds": 4},
        "knobs": ("lr", "augment"),
    },
    mapopt.envs.POST_PROCESSING: {"family": {"name": "synthetic", "count": 3, "images": (8, 8)}, "length": 4},
}
VECTORS = {
    mapopt.envs.DETECTOR_TRAINING: DetectorTrainingVectorEnv,
    mapopt.envs.POST_PROCESSING: PostProcessingVectorEnv,
}
IDS = list(ARGUMENTS)
MOMENTS = ["before", "in", "after"]
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
}


def with_module(name: str) -> str:
    """The id as processes know it that have not imported mapopt.envs."""
    return f"mapopt.envs:{name}"


def make(name: str, **changes: Any) -> gymnasium.Env:
    return gymnasium.make(name, **{**ARGUMENTS[name], **changes})


def make_vector(name: str, **changes: Any) -> VectorEnv:
    return VECTORS[name](2, **{**ARGUMENTS[name], **changes})


def actions_of(env: gymnasium.Env | VectorEnv, count: int, seed: int = 0) -> list[np.ndarray]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def played(env: Any, actions: list[np.ndarray]) -> list[tuple]:
    """Plays actions; a single environment is reset where its episode ends, a vector does that itself."""
    rows = []
    for action in actions:
        observation, reward, terminated, *_ = env.step(action)
        rows.append((observation.tobytes(), np.asarray(reward).tolist(), np.asarray(terminated).tolist()))
        if np.ndim(terminated) == 0 and terminated:
            rows.append((env.reset()[0].tobytes(),))
    return rows


def brought_to(env: Any, moment: str) -> None:
    env.reset(seed=5)
    if moment != "before":
        for action in actions_of(env, {"in": 2, "after": 4}[moment]):
            env.step(action)


@pytest.mark.parametrize("name", IDS)
def test_stable_baselines_makes_it_from_its_id_and_learns(name: str) -> None:
    env = make_vec_env(name, n_envs=2, env_kwargs=ARGUMENTS[name], seed=0)
    assert env.num_envs == 2
    model = PPO("MlpPolicy", VecNormalize(env), n_steps=4, batch_size=4, n_epochs=1, device="cpu")
    assert model.learn(8).num_timesteps == 8
    assert PPO("MlpPolicy", name, device="cpu").env is not None


@pytest.mark.parametrize("name", IDS)
def test_processes_that_begin_anew_know_the_id_with_its_module(name: str) -> None:
    env = make_vec_env(
        with_module(name), n_envs=1, env_kwargs=ARGUMENTS[name], seed=3, vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "spawn"},
    )  # fmt: skip
    try:
        first = env.reset()
    finally:
        env.close()
    assert np.array_equal(np.asarray(first)[0], make(name).reset(seed=3)[0])


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_processes_play_what_one_process_plays(name: str, context: str) -> None:
    env = gymnasium.make_vec(
        with_module(name), 1, vectorization_mode="async", vector_kwargs={"context": context}, **ARGUMENTS[name]
    )
    assert isinstance(env, AsyncVectorEnv)
    try:
        observations, _ = env.reset(seed=4)
        actions = actions_of(env, 2)
        steps = [env.step(action)[:2] for action in actions]
    finally:
        env.close()
    alone = make(name)
    assert np.array_equal(observations[0], alone.reset(seed=4)[0])
    for action, (seen, rewards) in zip(actions, steps, strict=True):
        expected = alone.step(action[0])
        assert np.array_equal(seen[0], expected[0])
        assert rewards[0] == expected[1]


class _Clip:
    """Stands in for moviepy's clip, which is no dependency of ours: it keeps the pictures that would be a video."""

    made: list[list[np.ndarray]] = []

    def __init__(self, pictures: list[np.ndarray], fps: int) -> None:
        self.pictures = pictures

    def write_videofile(self, path: str, **_: Any) -> None:
        _Clip.made.append(self.pictures)
        Path(path).write_bytes(b"video")


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> list[list[np.ndarray]]:
    """The videos that Gymnasium's RecordVideo writes."""
    for module in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = _Clip  # type: ignore[attr-defined]
    monkeypatch.setattr(_Clip, "made", [])
    return _Clip.made


@pytest.mark.parametrize("name", IDS)
def test_record_video_gets_a_picture_of_every_step(name: str, clips: list, tmp_path: Path) -> None:
    env = gymnasium.wrappers.RecordVideo(
        make(name, render_mode="rgb_array"), str(tmp_path / "videos"), disable_logger=True
    )
    env.reset(seed=0)
    played(env, actions_of(env, 4))
    env.close()
    assert [picture.shape for picture in clips[0]] == [(540, 960, 3)] * 5
    assert all(picture.dtype == np.uint8 for picture in clips[0])
    assert (clips[0][1] != clips[0][4]).any()


@pytest.mark.parametrize("name", IDS)
def test_both_vector_forms_render_every_lane(name: str) -> None:
    pictures = make_vector(name, render_mode="rgb_array")
    pictures.reset(seed=0)
    rendered = pictures.render()
    assert rendered is not None
    assert [picture.shape for picture in rendered] == [(540, 960, 3)] * 2
    lines = make_vector(name, render_mode="ansi")
    lines.reset(seed=0)
    rendered = lines.render()
    assert rendered is not None
    assert all(" 0/4" in line for line in rendered)
    assert make_vector(name).render() is None


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("build", [make, make_vector])
@pytest.mark.parametrize("name", IDS)
def test_a_copy_goes_on_with_the_same_bits(name: str, build: Callable[..., Any], moment: str, kind: str) -> None:
    env = build(name)
    if moment == "before":
        COPIES[kind](env)  # one that was never reset
    brought_to(env, moment)
    copied = COPIES[kind](env)
    if moment == "after" and build is make:
        assert env.reset()[0].tobytes() == copied.reset()[0].tobytes()
    actions = actions_of(env, 6, seed=1)
    rows = played(env, actions)
    assert played(copied, actions) == rows


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("changes", [{"action": "discrete", "reward": "f1"}, {"reward": "lrp"}])
@pytest.mark.parametrize("name", IDS)
def test_copies_of_other_forms_and_rewards_go_on_too(name: str, changes: dict[str, Any], kind: str) -> None:
    env = make(name, **changes)
    brought_to(env, "in")
    copied, actions = COPIES[kind](env), actions_of(env, 4, seed=1)
    assert played(copied, actions) == played(env, actions)


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", IDS)
def test_lanes_for_stable_baselines_are_copied_too(name: str, kind: str) -> None:
    env = FleetVecEnv(partial(make_vector, name, autoreset_mode="SameStep"))
    env.seed(1)
    env.reset()
    action = np.full((2, *env.action_space.shape), 0.5, np.float32)  # type: ignore[misc]
    env.step(action)
    copied = COPIES[kind](env)
    for _ in range(4):
        rows = [lanes.step(action)[:3] for lanes in (env, copied)]
        assert all(np.array_equal(mine, other) for mine, other in zip(*rows, strict=True))


def test_lanes_in_other_processes_say_how_they_are_copied() -> None:
    with pytest.raises(ConfigError, match=r"processes of their own cannot be copied: make FleetVecEnv with workers=1"):
        copy.deepcopy(_Remote.__new__(_Remote))
