"""A post-processing environment is copied after a reset, and the copies go on with the same bits."""

from __future__ import annotations

import copy
import pickle

import gymnasium

import mapopt.envs


def test_copies_go_on_with_the_same_bits() -> None:
    env = gymnasium.make(mapopt.envs.POST_PROCESSING)
    env.reset(seed=0)
    env.action_space.seed(0)
    action = env.action_space.sample()
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    expected = env.step(action)
    for copied in copies:
        observation, *rest = copied.step(action)
        assert observation.tobytes() == expected[0].tobytes()
        assert rest == list(expected[1:])
