"""Episodes copied in memory: what follows a copy is what followed the original, bit for bit, wherever it is put."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.states import EpisodeState
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4, ema=0.9, loss="rank_sort", memory=8))
BUDGET = Budget(images=8 * 4, rounds=4)
ARGUMENTS: dict[str, Any] = {"family": FAMILY, "budget": BUDGET, "knobs": ("lr", "augment"), "action": "discrete"}


def go_on(env: DetectorTrainingEnv, actions: list[int]) -> list[tuple[bytes, float, bool]]:
    """Plays actions; where an episode ends, the next one begins as the environment draws it."""
    rows = []
    for action in actions:
        seen, reward, terminated, _, _ = env.step(action)
        rows.append((seen.tobytes(), reward, terminated))
        if terminated:
            seen, info = env.reset()
            rows.append((seen.tobytes(), float(info["seed"]), False))
    return rows


def test_what_follows_a_copy_is_what_followed_the_original_and_the_next_episodes_too() -> None:
    env = DetectorTrainingEnv(**ARGUMENTS)
    env.reset(seed=0)
    go_on(env, [2])
    state = env.get_state()
    actions = [1, 4, 0, 2, 3, 0]
    first = go_on(env, actions)
    assert any(terminated for *_, terminated in first)
    env.set_state(state)
    assert go_on(env, actions) == first
    other = DetectorTrainingEnv(**ARGUMENTS)
    seen = other.set_state(state)
    assert seen.tobytes() == env.set_state(state).tobytes()
    assert go_on(other, actions) == first


def test_a_copy_stays_what_it_was_while_the_original_goes_on() -> None:
    env = DetectorTrainingEnv(**ARGUMENTS)
    env.reset(seed=0)
    state = env.get_state()
    weights = state.snapshot.tensors["weights"].clone()
    go_on(env, [0, 0])
    assert len(state.history) == 0
    assert (state.snapshot.tensors["weights"] == weights).all()


def test_an_episode_goes_from_lane_to_lane_and_between_interfaces() -> None:
    vector = DetectorTrainingVectorEnv(3, **ARGUMENTS)
    vector.reset(seed=0)
    vector.step(np.array([1, 2, 3]))
    state = vector.get_state(2)
    vector.set_state(0, state)
    single = DetectorTrainingEnv(**ARGUMENTS)
    single.set_state(state)
    for action in (0, 4, 0):
        seen, rewards, terminated, *_ = vector.step(np.array([action, 0, action]))
        alone = single.step(action)
        assert seen[0].tobytes() == seen[2].tobytes() == alone[0].tobytes()
        assert rewards[0] == rewards[2] == alone[1]
    assert terminated.tolist() == [True, True, True]
    seen, *_, infos = vector.step(np.zeros(3, dtype=np.int64))
    assert infos["seed"][0] == infos["seed"][2] == single.reset()[1]["seed"]


def test_an_episode_that_is_over_stays_over() -> None:
    env = DetectorTrainingEnv(**ARGUMENTS)
    env.reset(seed=0)
    for _ in range(BUDGET.rounds):
        env.step(0)
    other = DetectorTrainingEnv(**ARGUMENTS)
    other.set_state(env.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        other.step(0)


def test_a_state_without_a_generator_leaves_the_lanes_own() -> None:
    first, other = DetectorTrainingEnv(**ARGUMENTS), DetectorTrainingEnv(**ARGUMENTS)
    first.reset(seed=0)
    other.reset(seed=1)
    other.set_state(replace(first.get_state(), generator=None))
    alone = DetectorTrainingEnv(**ARGUMENTS)
    alone.reset(seed=1)
    assert other.reset()[1] == alone.reset()[1]


def test_what_is_not_there_or_does_not_fit_is_refused() -> None:
    env = DetectorTrainingEnv(**ARGUMENTS)
    with pytest.raises(ConfigError, match="lane 0 was never reset: call reset"):
        env.get_state()
    env.reset(seed=0)
    other = DetectorTrainingEnv(
        **{**ARGUMENTS, "family": replace(FAMILY, recipe=Recipe(batch_size=4, loss="rank_sort"))}
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        other.set_state(env.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        other.step(0)


@pytest.mark.parametrize("wrong", ["snapshot", "instance"])
def test_a_lane_goes_on_as_it_was_after_a_state_that_does_not_fit(wrong: str) -> None:
    def refused(state: EpisodeState) -> EpisodeState:
        if wrong == "instance":
            return replace(state, start=replace(state.start, instance=4))
        return replace(state, snapshot=replace(state.snapshot, tensors={"weights": torch.zeros(3)}))

    env, twin = (DetectorTrainingVectorEnv(2, **ARGUMENTS) for _ in range(2))
    env.reset(seed=0), twin.reset(seed=0)
    env.step(np.array([1, 2])), twin.step(np.array([1, 2]))
    with pytest.raises((CheckpointError, ConfigError)):
        env.set_state(1, refused(env.get_state(0)))
    for action in (0, 3, 4):
        ours, theirs = env.step(np.array([action, 2])), twin.step(np.array([action, 2]))
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert ours[1].tolist() == theirs[1].tolist()
    assert ours[2].tolist() == [True, True]


def test_a_state_of_another_instance_budget_or_kind_is_refused_and_the_episode_goes_on() -> None:
    env = DetectorTrainingEnv(**ARGUMENTS)
    env.reset(seed=0, options={"instance": 3})
    state = env.get_state()
    generator = env.np_random.bit_generator.state
    other = replace(FAMILY, images=(16, 8, 4), count=4)
    for changes, message in (
        ({"family": replace(FAMILY, split="eval")}, "other data than instance 3 has here"),
        ({"family": other}, "other data than instance 3 has here"),
        ({"family": replace(FAMILY, count=2)}, "is of instance 3 and this family has 2"),
        (
            {"budget": Budget(images=8 * 8, rounds=8)},
            r"an episode of Budget\(images=32.*those here have Budget\(images=64",
        ),
    ):
        strict = DetectorTrainingEnv(**{**ARGUMENTS, **changes})
        seen = strict.reset(seed=0)[0]
        with pytest.raises(CheckpointError, match=message):
            strict.set_state(state)
        assert np.array_equal(strict.lanes.observe(0), seen)
    env.step(0)
    played = env.get_state()
    with pytest.raises(CheckpointError, match="operating_point was not measured where the state is from"):
        DetectorTrainingEnv(**ARGUMENTS, reward="f1").set_state(played)
    with pytest.raises(CheckpointError, match=r"a state is of type dict: expected what get_state\(\) returns"):
        env.set_state({})  # type: ignore[arg-type]
    assert env.np_random.bit_generator.state == generator
    assert DetectorTrainingEnv(**ARGUMENTS).set_state(state).shape == env.observation_space.shape
