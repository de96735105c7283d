"""A learner without gradients: candidates of a small policy play the same episodes, and the better ones lead.

In every iteration all candidates have the same instances and training seeds (common random numbers), so what differs
between them are their decisions alone, and no reference run is needed for that.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from stable_baselines3.common.logger import Logger

from mapopt.agents.agent import Agent, OwnParts
from mapopt.agents.baselines import describe_baseline
from mapopt.agents.learning.players import Players
from mapopt.agents.learning.restoring import LearnerState
from mapopt.agents.learning.settings import AgentTraining
from mapopt.agents.learning.strategies import (
    Cma,
    CmaSettings,
    EsSettings,
    EvolutionStrategy,
    Strategy,
    numbers_of,
    put_numbers,
)
from mapopt.agents.learning.watching import Watched
from mapopt.envs.detector_training.action_forms import KnobAction
from mapopt.envs.detector_training.actions import ACTIONS
from mapopt.envs.detector_training.settings import NUM_SEEDS
from mapopt.errors import AgentError, ConfigError
from mapopt.registry import is_text
from mapopt.weights import check_like


class EvolutionLearner:
    """CMA-ES or an evolution strategy over the numbers of a policy.

    Args:
        env: the lanes; each candidate plays on `episodes` of them.
        settings: of the training.
        logger: takes what it records.

    Raises:
        ConfigError: the lanes are not a multiple of the episodes, or too few.
    """

    def __init__(self, env: Watched, settings: AgentTraining, logger: Logger) -> None:
        given = dict(settings.hyperparameters)
        self._env, self._settings, self._logger = env, settings, logger
        self._episodes = int(given.pop("episodes", EPISODES))
        self._candidates, left = divmod(env.num_envs, self._episodes)
        if left or self._candidates < MIN_CANDIDATES:
            raise ConfigError(
                f"{env.num_envs} lanes for candidates of {self._episodes} episodes each: expected a multiple of "
                f"{self._episodes}, of at least {MIN_CANDIDATES * self._episodes}; see lanes, workers and episodes"
            )
        self._like = _first_agent(env, settings)
        self._shapes = [part.shape for layer in self._like.layers for part in layer]
        count = sum(int(np.prod(shape)) for shape in self._shapes)
        self._strategy: Strategy
        if settings.algo == "cma_es":
            if count > MAX_NUMBERS:
                raise ConfigError(
                    f"the policy has {count} numbers, and cma_es learns at most {MAX_NUMBERS}: give fewer hidden "
                    "layers or features, or --algo es"
                )
            self._strategy = Cma(count, CmaSettings(**given))
        else:
            self._strategy = EvolutionStrategy(count, EsSettings(**given))

    def iterate(self, iteration: int, *, planned: int) -> None:
        """Lets every candidate play its episodes, and moves towards the better ones."""
        env, settings = self._env, self._settings
        generator = np.random.default_rng([settings.seed, iteration])
        candidates = self._strategy.ask(generator, self._candidates)
        instances = generator.integers(self._instances(), size=self._episodes)
        seeds = generator.integers(settings.num_seeds or NUM_SEEDS, size=self._episodes)
        starts = [
            {"instance": int(number), "training_seed": int(seed)} for number, seed in zip(instances, seeds, strict=True)
        ]
        env.begin()
        env.seed(settings.seed + 1_000_003 * (iteration + 1))
        env.fleets.set_options(starts * self._candidates)
        observations = np.asarray(env.reset())
        players = [Players(self._agent_of(numbers), self._episodes) for numbers in candidates]
        for _ in range(settings.budget.rounds):
            parts = np.split(observations, self._candidates)
            actions = np.concatenate([player.act(seen) for player, seen in zip(players, parts, strict=True)])
            observations = np.asarray(env.step(actions.astype(env.action_space.dtype))[0])
        values = env.returns.reshape(self._candidates, self._episodes).mean(axis=1)
        self._strategy.tell(candidates, values)
        self._logger.record("train/best_candidate", float(values.max()))
        self._logger.record("train/mean_candidate", float(values.mean()))

    def agent(self) -> Agent:
        """Returns the policy of now: the middle of the next candidates."""
        return self._agent_of(self._strategy.mean)

    def state(self) -> LearnerState:
        """Returns all numbers of now."""
        numbers = numbers_of(self._strategy)
        return LearnerState(policy={name: torch.from_numpy(np.array(part)) for name, part in numbers.items()})

    def restore(self, state: LearnerState, where: str) -> None:
        """Takes up numbers."""
        check_like(state.policy, self.state().policy, f"{where}: policy", error=AgentError)
        put_numbers(self._strategy, {name: part.numpy() for name, part in state.policy.items()}, where)

    def _instances(self) -> int:
        """Returns how many instances there are to train on."""
        lanes_settings = self._env.fleets.get_attr("settings", [0])[0]
        return int(lanes_settings.family.count - lanes_settings.held_out)

    def _agent_of(self, numbers: np.ndarray) -> Agent:
        """Returns the agent whose layers these numbers are."""
        parts, at = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            parts.append(numbers[at : at + size].reshape(shape).astype(np.float32))
            at += size
        return replace(self._like, layers=tuple(zip(parts[::2], parts[1::2], strict=True)))


EPISODES, MIN_CANDIDATES, MAX_NUMBERS = 2, 4, 2000
"""Episodes of a candidate unless others are given, the fewest candidates, and the numbers of a policy for CMA-ES."""


def _first_agent(env: Watched, settings: AgentTraining) -> Agent:
    """Returns the agent that all candidates are like, with all its numbers 0: where actions are relative, the baseline.

    Raises:
        ConfigError: nothing of a file's kind could hold it.
    """
    form: Any = env.get_attr("action_form", [0])[0]
    names = tuple(env.get_attr("observation_names", [0])[0])
    space, own = form.space_of_actions(), type(form) not in ACTIONS.values()
    baseline = describe_baseline(form.baseline) if hasattr(form, "baseline") else None
    if baseline is None or (own and not isinstance(form, KnobAction)):
        raise ConfigError(
            f"{settings.algo} learns for actions relative to a schedule or a controller of ours: not for "
            f"{type(form).__name__}"
        )
    features = tuple(entry for entry in settings.features or () if not isinstance(entry, str) or is_text(entry))
    choices = isinstance(space, Discrete | MultiDiscrete)
    outputs = int(space.n) if isinstance(space, Discrete) else 0
    outputs = int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else outputs
    outputs = int(np.prod(space.shape)) if isinstance(space, Box) else outputs
    widths = [len(names), *(settings.hidden or ()), outputs]
    layers = tuple(
        (np.zeros((rows, columns), np.float32), np.zeros(rows, np.float32)) for columns, rows in pairwise(widths)
    )
    return Agent(
        layers,
        form.knobs,
        getattr(form, "scale", None),
        baseline,
        names,
        action=next((name for name, kind in ACTIONS.items() if type(form) is kind), type(form).__name__),
        step_size=getattr(form, "step_size", None),
        output="choice" if choices else "clip",
        own=OwnParts(features, form if own else None),
    )
