"""How good a policy is on instances that it is never trained on, and which policy of a training is kept.

Every evaluation plays the same instances with the same training seeds, so that what differs is the policy. They are of
the family's training side: what an agent is compared on in the end is not read here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from mapopt.agents.agent import Agent
from mapopt.agents.description import named_tensors, network_parts
from mapopt.agents.learning.players import Players
from mapopt.agents.learning.watching import Watched
from mapopt.errors import AgentError
from mapopt.weights import check_like


@dataclass(frozen=True, kw_only=True)
class Best:
    """The policy of a training that was best on held-out instances."""

    iteration: int
    score: float
    """Its mean return there."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """Name -> tensor of its network."""

    @classmethod
    def of(cls, agent: Agent, *, iteration: int, score: float) -> Best:
        """Keeps the numbers of an agent."""
        named = named_tensors(agent.layers, agent.cells)
        numbers = {name: torch.from_numpy(part.copy()) for name, part in named.items()}
        return cls(iteration=iteration, score=score, numbers=numbers)

    def put_into(self, agent: Agent, where: str) -> Agent:
        """Returns an agent of the same training with these numbers.

        Raises:
            AgentError: they are of another network.
        """
        like = {name: torch.from_numpy(part) for name, part in named_tensors(agent.layers, agent.cells).items()}
        check_like(self.numbers, like, f"{where}: best", error=AgentError)
        numbers = {name: part.numpy() for name, part in self.numbers.items()}
        layers, cells = network_parts(numbers, len(agent.layers), len(agent.cells))
        return replace(agent, layers=layers, cells=cells)


def evaluate(agent: Agent, env: Watched, *, first: int, count: int) -> float:
    """Plays an episode in every lane without exploration; returns the mean of the returns.

    Args:
        agent: who plays.
        env: the lanes.
        first: number of the first held-out instance.
        count: held-out instances; lane i plays the i-th of them, and begins anew with another training seed.
    """
    lanes = np.arange(env.num_envs)
    # An episode that is named is played to its end, whatever is staggered.
    starts = [{"instance": first + int(lane) % count, "training_seed": int(lane) // count} for lane in lanes]
    env.fleets.set_options(starts)
    env.begin()
    observations = np.asarray(env.reset())
    players, playing, returns = Players(agent, env.num_envs), np.ones(env.num_envs, dtype=bool), np.zeros(env.num_envs)
    while playing.any():
        before = env.returns.copy()
        seen, _, dones, _ = env.step(players.act(observations))
        observations = np.asarray(seen)
        returns += np.where(playing, env.returns - before, 0.0)
        playing &= ~dones
    return float(returns.mean())
