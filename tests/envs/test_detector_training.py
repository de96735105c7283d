"""The environment's three faces, held to the checkers, to each other and to the trainer."""

from __future__ import annotations

import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training import DetectorTrainingEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.envs.vector import DetectorTrainingVectorEnv
from mapopt.errors import ConfigError
from mapopt.training.controllers import Schedule
from mapopt.training.fleet import Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.run import run
from mapopt.training.task import Budget, Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")


def make(**changes: object) -> DetectorTrainingEnv:
    return DetectorTrainingEnv(**{"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes})  # type: ignore[arg-type]


def make_vector(lanes: int, mode: str = "NextStep") -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode=mode)


def test_gymnasium_checks_it_without_a_warning() -> None:
    env = gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET, knobs=KNOBS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(env.unwrapped)


def test_stable_baselines3_checks_it_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sb3(make())


def test_the_zero_action_is_the_baseline_bit_for_bit() -> None:
    env = make()
    env.reset(seed=0, options={"instance": 2, "training_seed": 7})
    for _ in range(BUDGET.rounds):
        env.step(np.zeros(3))
    result = run(Trainer(FAMILY.instance(2).task, seed=7), Schedule(), BUDGET)
    for ours, theirs in zip(env.world.histories[0], result.history, strict=True):
        assert ours.tune == theirs.tune
        assert ours.interval.class_loss == theirs.interval.class_loss
        assert ours.knobs == theirs.knobs


def test_rewards_add_up_to_the_final_tune_ap_and_only_the_end_knows_the_test() -> None:
    env = make()
    env.reset(seed=1)
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, truncated, info = env.step(env.action_space.sample())
        total += reward
        assert not truncated
        assert ("test_ap" in info) == ended
    assert total == pytest.approx(env.world.histories[0][-1].tune.ap)


def test_test_data_has_no_say_in_observations_or_rewards() -> None:
    from dataclasses import replace

    def play(spoil: bool) -> list[tuple[bytes, float]]:
        env = make()
        env.reset(seed=0, options={"instance": 0, "training_seed": 1})
        if spoil:
            fleet = env.world.fleet
            task = fleet.tasks[0]
            other = FAMILY.instance(1).task.splits.test
            fleet.reset(0, 1, replace(task, splits=replace(task.splits, test=other)))
        return [(o.tobytes(), r) for o, r, *_ in (env.step(np.full(3, 0.3)) for _ in range(BUDGET.rounds))]

    assert play(spoil=False) == play(spoil=True)


def test_a_step_after_the_end_is_refused() -> None:
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))


def test_a_diverged_episode_returns_nothing_in_total() -> None:
    import torch

    env = make()
    env.reset(seed=0)
    _, first, *_ = env.step(np.zeros(3))
    with torch.no_grad():
        env.world.fleet._place[0][0].detector.weights[0] = float("nan")
    _, second, terminated, _, info = env.step(np.zeros(3))
    assert terminated
    assert info["diverged"]
    assert info["test_ap"] == 0.0
    assert first + second == pytest.approx(0.0)


def test_vector_and_single_faces_give_the_same_trajectories_for_the_same_seeds() -> None:
    vector = make_vector(3)
    observations, _ = vector.reset(seed=5)
    actions = np.random.default_rng(0).uniform(-1, 1, (BUDGET.rounds, 3, 3))
    rows = [vector.step(actions[step])[:3] for step in range(BUDGET.rounds)]
    for lane in range(3):
        env = make()
        first, _ = env.reset(seed=5 + lane)
        assert np.array_equal(first, observations[lane])
        for step in range(BUDGET.rounds):
            seen, reward, terminated, *_ = env.step(actions[step, lane])
            assert np.array_equal(seen, rows[step][0][lane])
            assert reward == rows[step][1][lane]
            assert terminated == rows[step][2][lane]


def test_the_same_seed_gives_the_same_episode_twice() -> None:
    def play() -> list[bytes]:
        env = make()
        seen = [env.reset(seed=3)[0].tobytes()]
        return seen + [env.step(np.full(3, -0.5))[0].tobytes() for _ in range(BUDGET.rounds)]

    assert play() == play()


def test_next_step_autoreset_spends_a_step_on_the_reset() -> None:
    vector = make_vector(2)
    vector.reset(seed=0)
    zero = np.zeros((2, 3))
    for step in range(BUDGET.rounds):
        _, _, terminated, _, infos = vector.step(zero)
        assert terminated.all() == (step == BUDGET.rounds - 1)
    assert infos["test_ap"].shape == (2,)
    observations, rewards, terminated, *_ = vector.step(zero)
    assert not terminated.any()
    assert (rewards == 0).all()
    assert (observations[:, 0] == 0).all()


def test_same_step_autoreset_hands_over_the_final_observation() -> None:
    vector = make_vector(2, "SameStep")
    vector.reset(seed=0)
    for _ in range(BUDGET.rounds):
        observations, _, terminated, _, infos = vector.step(np.zeros((2, 3)))
    assert terminated.all()
    assert (observations[:, 0] == 0).all()
    assert infos["final_obs"][0][0] == 1.0
    assert infos["final_info"]["test_ap"].shape == (2,)


@pytest.mark.slow
def test_two_processes_of_two_lanes_play_the_episodes_of_one_with_four() -> None:
    def play(lanes: int, workers: int) -> list[bytes]:
        make_fleet = partial(
            DetectorTrainingVectorEnv, lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode="SameStep"
        )
        env = FleetVecEnv(make_fleet, workers=workers)
        try:
            env.seed(11)
            seen = [np.asarray(env.reset()).tobytes()]
            return seen + [env.step(np.full((4, 3), 0.2, dtype=np.float32))[0].tobytes() for _ in range(2)]
        finally:
            env.close()

    assert play(2, 2) == play(4, 1)


def test_stable_baselines3_sees_episodes_end_with_their_last_observation() -> None:
    env = FleetVecEnv(partial(make_vector, 2, "SameStep"))
    env.seed(0)
    env.reset()
    for _ in range(BUDGET.rounds):
        observations, _, dones, infos = env.step(np.zeros((2, 3), dtype=np.float32))
    assert dones.all()
    assert infos[0]["terminal_observation"][0] == 1.0
    assert not infos[0]["TimeLimit.truncated"]
    assert "test_ap" in infos[1]
    assert (observations[:, 0] == 0).all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        make(knobs=("lrr",))
    with pytest.raises(ConfigError, match="unknown reset options"):
        make().reset(options={"instnce": 1})
    with pytest.raises(ConfigError, match="instance 9 was asked of a family of 4"):
        make().reset(options={"instance": 9})
    with pytest.raises(ConfigError, match="autoreset_mode"):
        FleetVecEnv(partial(make_vector, 2))
    env = make()
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="finite"):
        env.step(np.array([np.nan, 0, 0]))


def test_instances_for_training_and_judging_share_no_image() -> None:
    train, judge = ShapesFamily(images=(16, 8, 8)), ShapesFamily(split="judge", images=(16, 8, 8))

    def pictures(family: ShapesFamily) -> set[bytes]:
        splits = family.instance(0).task.splits
        return {one.numpy().tobytes() for part in (splits.train, splits.tune, splits.test) for one in part.pixels}

    assert not pictures(train) & pictures(judge)


def test_ansi_rendering_tells_the_round_and_the_knobs() -> None:
    env = make(render_mode="ansi")
    env.reset(seed=0)
    env.step(np.zeros(3))
    assert env.render().startswith("round 1/3: tune AP")  # type: ignore[union-attr]


def test_a_trained_policy_in_the_environment_equals_the_same_policy_in_a_run() -> None:
    from mapopt.agents.policy import Agent, PolicyController

    rng = np.random.default_rng(0)
    env = make()
    names = env.observation_names
    agent = Agent(((rng.normal(0, 0.3, (3, len(names))), np.zeros(3)),), KNOBS, 10.0, {"shape": "cosine"}, names)
    seen, _ = env.reset(seed=0, options={"instance": 1, "training_seed": 4})
    for _ in range(BUDGET.rounds):
        seen, *_ = env.step(agent.act(seen))
    result = run(Trainer(FAMILY.instance(1).task, seed=4), PolicyController(agent), BUDGET)
    assert [one.tune for one in env.world.histories[0]] == [one.tune for one in result.history]
    assert [one.knobs for one in env.world.histories[0]] == [one.knobs for one in result.history]
    assert env.world.histories[0][-1].knobs != Knobs()
