"""What a learner is made with: what suits a training's budget and lanes, and over it what its user gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.noise import NormalActionNoise

from mapopt.agents.learning.algorithms import find_algorithm, import_algorithm, plain_parameters
from mapopt.agents.learning.settings import AgentTraining
from mapopt.errors import ConfigError


def arguments_of(settings: AgentTraining, lanes: int) -> dict[str, Any]:
    """Returns what a learner is made with, but for its policy's class, its environment and its seed.

    Args:
        settings: of the training.
        lanes: episodes at once, in all processes.

    Raises:
        ConfigError: hyperparameters do not fit the budget.
    """
    known, algorithm = find_algorithm(settings.algo), import_algorithm(settings.algo)
    rounds = settings.budget.rounds
    ours: dict[str, Any] = {"learning_rate": settings.learning_rate, "gamma": 1.0, **known.own}
    if known.on_policy:
        ours |= {"n_steps": rounds, "gae_lambda": settings.gae_lambda, "log_std_init": settings.log_std}
    if settings.algo == "a2c":
        # It updates once for its steps, so an episode is several updates: five steps each, as in the package.
        ours["n_steps"] = max(steps for steps in range(1, 6) if rounds % steps == 0)
    if "minibatches" in known.fields:
        ours |= {"n_epochs": settings.epochs, "clip_range": settings.clip}
        ours["batch_size"] = max(2, rounds * lanes // settings.minibatches)
    if not known.on_policy:
        ours["learning_starts"] = rounds * lanes
    if settings.algo == "dqn":
        ours["target_update_interval"] = rounds * lanes
    arguments = {**ours, **settings.hyperparameters}
    if known.on_policy and rounds % arguments["n_steps"]:
        raise ConfigError(
            f"hyperparameter 'n_steps' is {arguments['n_steps']}: expected a divisor of the {rounds} rounds of the "
            "budget, so that an iteration is an episode"
        )
    if arguments.get("action_noise") is not None:
        arguments["action_noise"] = _noise(float(arguments["action_noise"]), settings)
    taken = plain_parameters(algorithm)
    policy = {name: arguments.pop(name) for name in list(arguments) if name not in taken}
    return {**arguments, "policy_kwargs": {"net_arch": list(settings.hidden or ()), **policy}}


def _noise(standard_deviation: float, settings: AgentTraining) -> Any:
    """Returns what is added to the actions of a learner that would not explore by itself."""
    count = len(settings.make_action().knobs)
    return NormalActionNoise(np.zeros(count), np.full(count, standard_deviation))
