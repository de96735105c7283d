"""A learner as a training knows it, and those of stable-baselines3 and sb3-contrib.

One iteration is one episode of every lane with the updates that belong to it. All random numbers of an iteration follow
from (seed, iteration), so what a learner is resumed from are its numbers alone.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from mapopt.agents.agent import Agent
from mapopt.agents.learning.algorithms import find_algorithm, import_algorithm, is_evolution
from mapopt.agents.learning.arguments import arguments_of
from mapopt.agents.learning.evolution import EvolutionLearner
from mapopt.agents.learning.restoring import LearnerState, restore, state_of
from mapopt.agents.learning.settings import AgentTraining
from mapopt.agents.learning.watching import Watched
from mapopt.errors import ConfigError, shown


class Learner(Protocol):
    """What learns from the episodes of an iteration."""

    def iterate(self, iteration: int, *, planned: int) -> None:
        """Plays one episode in every lane and updates the policy.

        Args:
            iteration: its number.
            planned: iterations that the training was begun with.
        """

    def agent(self) -> Agent:
        """Returns the policy of now."""

    def state(self) -> LearnerState:
        """Returns all numbers of now."""

    def restore(self, state: LearnerState, where: str) -> None:
        """Takes up numbers.

        Raises:
            AgentError: they are not of such a learner; nothing is taken up then.
        """


def make_learner(env: Watched, settings: AgentTraining, logger: Logger) -> Learner:
    """Makes the learner that settings name.

    Raises:
        ConfigError: it cannot be made with these settings.
        AgentError: its network is none that an agent's file holds.
    """
    kind = EvolutionLearner if is_evolution(settings.algo) else Sb3Learner
    return kind(env, settings, logger)


class Sb3Learner:
    """A learner of stable-baselines3 or sb3-contrib.

    Args:
        env: the lanes that it plays on.
        settings: of the training.
        logger: takes what it records of its updates.

    Raises:
        ConfigError: it cannot be made with these settings.
        AgentError: its network is none that an agent's file holds.
    """

    def __init__(self, env: Watched, settings: AgentTraining, logger: Logger) -> None:
        self._env, self._settings = env, settings
        self._known = find_algorithm(settings.algo)
        algorithm, arguments = import_algorithm(settings.algo), arguments_of(settings, env.num_envs)
        try:
            self.model: BaseAlgorithm = algorithm(
                self._known.policy, env, seed=settings.seed, device="cpu", **arguments
            )
        except (AssertionError, TypeError, ValueError) as error:
            raise ConfigError(f"{settings.algo} cannot be made with these hyperparameters ({shown(error)})") from None
        self.model.set_logger(logger)
        self.agent()  # so that nobody trains for hours what cannot be written

    def iterate(self, iteration: int, *, planned: int) -> None:
        """Plays one episode in every lane and updates the policy."""
        settings, steps = self._settings, self._settings.budget.rounds * self._env.num_envs
        self._env.begin()
        self._env.seed(settings.seed + 1_000_003 * (iteration + 1))
        self.model._last_obs = None  # makes `learn` reset the environment with the seeds just given
        seed = settings.seed + 7919 * (iteration + 1)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the learner's minibatches
        self.model.action_space.seed(seed)  # of the actions before learning starts
        self.model.learn(steps, reset_num_timesteps=False, callback=_Planned(planned * steps))

    def agent(self) -> Agent:
        """Returns the policy of now."""
        return Agent.from_sb3(self.model)

    def state(self) -> LearnerState:
        """Returns all numbers of now."""
        return state_of(self.model)

    def restore(self, state: LearnerState, where: str) -> None:
        """Takes up numbers."""
        restore(self.model, state, where)


class _Planned(BaseCallback):
    """Lets exploration end with a fraction of the training that was planned, not of the iteration that is played."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._planned = steps

    def _on_training_start(self) -> None:
        model: Any = self.model
        model._total_timesteps = self._planned
        model._update_current_progress_remaining(model.num_timesteps, self._planned)
        if hasattr(model, "exploration_schedule"):
            model.exploration_rate = model.exploration_schedule(model._current_progress_remaining)

    def _on_step(self) -> bool:
        return True
