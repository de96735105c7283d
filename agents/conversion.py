"""Takes the network out of a model of stable-baselines3, where it is one that an `Agent` holds.

That is a plain network of linear layers with tanh or relu between them, and LSTM cells before them where the model is
recurrent, whose outputs are the action. Whether a model has one is not read off its class but tried: the numbers taken
out have to decide as the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Space
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from mapopt.agents.network import Cell, Network, State
from mapopt.errors import AgentError

_TRIALS = 64
"""Observations that both are asked about."""

_TOLERANCE = 1e-4
"""The model computes in float32; within this an action is the same."""


def network_of(policy: BasePolicy) -> Network:
    """Returns a policy's network.

    Raises:
        AgentError: it is of another kind.
    """
    modules, squashed = _modules(policy)
    linear = [module for module in modules if isinstance(module, nn.Linear)]
    between = {type(module) for module in modules if not isinstance(module, nn.Linear)}
    if not linear or not between <= {nn.Tanh, nn.ReLU} or len(between) > 1:
        names = ", ".join(sorted({type(module).__name__ for module in modules})) or type(policy).__name__
        raise AgentError(_refusal(f"it is made of {names}"))
    layers = [(_numbers(layer.weight), _numbers(layer.bias)) for layer in linear]
    quantiles = getattr(policy, "n_quantiles", 0)
    if not _continuous(policy.action_space) and quantiles:
        # Every choice is valued by the mean over its quantiles, which a linear layer can compute itself.
        weight, bias = layers[-1]
        choices = len(bias) // quantiles
        layers[-1] = (
            weight.reshape(quantiles, choices, -1).mean(axis=0),
            bias.reshape(quantiles, choices).mean(axis=0),
        )
    return Network(
        layers=tuple(layers),
        activation="relu" if between == {nn.ReLU} else "tanh",
        output=("tanh" if squashed else "clip") if _continuous(policy.action_space) else "choice",
        cells=_cells(getattr(policy, "lstm_actor", None)),
    )


def check_same(policy: BasePolicy, step: Callable[[np.ndarray, State], tuple[Any, State]]) -> None:
    """Raises AgentError unless a function decides as a policy does, in an episode of random observations.

    Args:
        policy: of the model.
        step: observation ``[n]`` and what is remembered -> action and what is remembered thereafter.
    """
    generator = np.random.default_rng(0)
    entries = policy.observation_space.shape or (0,)
    theirs: Any = None
    ours: State = ()
    for trial, observation in enumerate(generator.uniform(-1, 1, (_TRIALS, *entries)).astype(np.float32)):
        begun = np.array([trial == 0])
        expected, theirs = policy.predict(observation, theirs, episode_start=begun, deterministic=True)
        got, ours = step(observation, ours)
        same = (
            np.allclose(got, expected, atol=_TOLERANCE) if _continuous(policy.action_space) else np.all(got == expected)
        )
        if not same:
            raise AgentError(_refusal(f"its layers alone decide {got} where it decides {expected}"))


def _modules(policy: Any) -> tuple[Sequence[nn.Module], bool]:
    """Returns the modules from observation to action in their order, and whether the outputs go through tanh."""
    actor: Any = getattr(policy, "actor", None)
    if hasattr(policy, "mlp_extractor"):  # PPO, A2C, TRPO
        return [*policy.mlp_extractor.policy_net, policy.action_net], False
    if hasattr(actor, "latent_pi"):  # SAC, TQC
        last = actor.mu
        return [*actor.latent_pi, *(last if isinstance(last, nn.Sequential) else [last])], True
    if hasattr(actor, "mu"):  # TD3, DDPG
        *inner, last = actor.mu
        return inner if isinstance(last, nn.Tanh) else [*inner, last], isinstance(last, nn.Tanh)
    if hasattr(policy, "q_net"):  # DQN
        return list(policy.q_net.q_net), False
    if hasattr(policy, "quantile_net"):  # QR-DQN
        return list(policy.quantile_net.quantile_net), False
    return [], False


def _cells(memory: nn.LSTM | None) -> tuple[Cell, ...]:
    """Returns the cells of an LSTM; its two biases are only ever added."""
    if memory is None:
        return ()
    if memory.bidirectional or memory.proj_size or not memory.bias:
        raise AgentError(_refusal(f"its memory is {memory}"))
    return tuple(
        Cell(
            _numbers(getattr(memory, f"weight_ih_l{layer}")),
            _numbers(getattr(memory, f"weight_hh_l{layer}")),
            _numbers(getattr(memory, f"bias_ih_l{layer}") + getattr(memory, f"bias_hh_l{layer}")),
        )
        for layer in range(memory.num_layers)
    )


def _numbers(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().astype(np.float32)


def _continuous(space: Space[Any]) -> bool:
    return isinstance(space, Box)


def _refusal(reason: str) -> str:
    return (
        f"the model's network is none that an agent's file holds ({reason}): "
        "give a path that ends in .zip, which keeps the whole model"
    )
