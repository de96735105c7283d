"""Rewards relative to a reference run: the run's own less the reference's, which is played once."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest

from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.references import References, key_of
from mapopt.envs.detector_training.states import Start
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import ConfigError
from mapopt.training import Budget, Constant, Recipe

FAMILY = ShapesFamily(
    scenes=ShapesConfig(size=16, object_size=(5.0, 10.0), objects=(1, 2)),
    images=(8, 4, 4),
    count=4,
    recipe=Recipe(batch_size=2),
)
BUDGET = Budget(images=8, rounds=4)
GIVEN = {"instance": 2, "training_seed": 3}


def make(**changes: Any) -> DetectorTrainingEnv:
    return DetectorTrainingEnv(FAMILY, budget=BUDGET, knobs=("lr",), **changes)


def played(env: DetectorTrainingEnv, action: Any, options: dict[str, int] = GIVEN) -> list[float]:
    env.reset(options=options)
    rewards, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        over = terminated or truncated
    return rewards


def test_a_reward_is_the_runs_own_less_the_baselines() -> None:
    action = np.array([0.7], np.float32)
    own, baseline = played(make(), action), played(make(), np.zeros(1, np.float32))
    relative = make(reference="baseline")
    assert played(relative, action) == pytest.approx(np.subtract(own, baseline), abs=1e-12)
    assert played(relative, np.zeros(1, np.float32)) == [0.0] * 4
    _, _, _, _, info = (relative.reset(options=GIVEN), relative.step(action))[1]
    assert info["reward_parts"]["reference"] == baseline[0]
    assert relative.lanes.references is not None
    assert relative.lanes.references.known == {(2, 3): tuple(baseline)}


def test_a_controller_may_be_the_reference_and_the_form_of_action_does_not_matter() -> None:
    constant = DetectorTrainingEnv(FAMILY, budget=BUDGET, action="absolute", knobs=("lr",), reference=Constant())
    named = make(reference={"name": "constant"})
    for env in (constant, named):
        played(env, np.array([0.2], np.float32))
    assert constant.lanes.references is not None
    assert named.lanes.references is not None
    assert constant.lanes.references.known == named.lanes.references.known
    baseline = played(make(), np.zeros(1, np.float32))
    assert named.lanes.references.known[2, 3] != tuple(baseline)


def test_an_episode_that_ends_early_is_charged_the_rest_and_one_that_is_cut_short_is_not() -> None:
    references = References(lambda: pytest.fail("nothing has to be played"))
    references.known[1, 5] = (0.1, 0.2, 0.4)
    start = Start(instance=1, seed=5, cut=2)
    assert key_of(start) == (1, 5)
    assert references.taken(start, 0, ended=False) == 0.1
    assert references.taken(start, 0, ended=True) == pytest.approx(0.7)
    assert references.taken(start, 2, ended=True) == 0.4
    assert references.taken(start, 3, ended=True) == 0.0, "the reference diverged, and is paid nothing more"
    references.play([(1, 5)])
    assert references.missing([start, Start(instance=0, seed=5), Start(instance=0, seed=5)]) == [(0, 5)]


def test_lanes_play_each_reference_once_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    play = References.play

    def counted(self: References, keys: Any) -> None:
        counts.append(len([key for key in keys if key not in self.known]))
        play(self, keys)

    monkeypatch.setattr(References, "play", counted)
    env = DetectorTrainingVectorEnv(
        3, FAMILY, budget=BUDGET, knobs=("lr",), reference="baseline", num_seeds=1, autoreset_mode="SameStep"
    )
    env.reset(seed=0)
    for _ in range(9):
        _, rewards, _, _, _ = env.step(np.zeros((3, 1), np.float32))
        assert rewards.tolist() == [0.0] * 3
    assert 1 <= sum(counts) <= 4
    assert env.lanes.references is not None
    single = make(reference="baseline")
    for number, seed in env.lanes.references.known:
        assert seed == 0
        played(single, np.zeros(1, np.float32), {"instance": number, "training_seed": seed})
    assert single.lanes.references is not None
    assert single.lanes.references.known == env.lanes.references.known


@pytest.mark.slow
def test_processes_divide_the_references_among_them() -> None:
    make_vector = partial(
        DetectorTrainingVectorEnv, 2, FAMILY, budget=BUDGET, knobs=("lr",), reference="baseline", num_seeds=2,
        autoreset_mode="SameStep",
    )  # fmt: skip
    single, double = FleetVecEnv(partial(make_vector)), FleetVecEnv(make_vector, workers=2)
    try:
        double.seed(0)
        double.reset()
        missing = double.missing_references()
        assert double.play_references(missing).keys() == set(missing)
        assert double.missing_references() == []
        assert single.play_references(missing) == double.take_references({})
    finally:
        single.close()
        double.close()


def test_training_seeds_and_instances_are_drawn_as_the_settings_say() -> None:
    env = make(num_seeds=2, held_out=1)
    drawn = [env.reset(seed=seed)[1] for seed in range(40)]
    assert {info["instance"] for info in drawn} == {0, 1, 2}
    assert {info["seed"] for info in drawn} == {0, 1}
    assert env.reset(options={"instance": 3, "training_seed": 77})[1]["instance"] == 3


def test_an_environment_with_references_can_be_copied_and_pickled() -> None:
    env, action = make(reference="baseline"), np.array([-0.5], np.float32)
    expected = played(env, action)
    for again in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert played(again, action) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reference": "baselin"}, "unknown controller 'baselin'"),
        ({"reference": {"name": "constant", "speed": 3}}, "'speed'"),
        ({"num_seeds": 0}, "num_seeds is 0: expected a whole number from 1"),
        ({"held_out": 4}, "held_out is 4, and the family has 4 instances: leave some"),
        ({"held_out": -1}, "held_out is -1: expected a whole number from 0"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**given)
