"""Agents that play on the lanes of an environment without exploration, as they do when they are run later."""

from __future__ import annotations

import numpy as np

from mapopt.agents.agent import Agent
from mapopt.agents.network import State


class Players:
    """An agent in every lane, each with a memory of its own where the agent has one.

    Args:
        agent: who plays.
        lanes: how many episodes at once.
    """

    def __init__(self, agent: Agent, lanes: int) -> None:
        self._agent = agent
        self._states: list[State] = [()] * lanes

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Returns the actions ``[lanes, ...]`` for the next observations ``[lanes, in]``."""
        steps = [self._agent.step(seen, state) for seen, state in zip(observations, self._states, strict=True)]
        self._states = [state for _, state in steps]
        return np.stack([np.asarray(action) for action, _ in steps])
