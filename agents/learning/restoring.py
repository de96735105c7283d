"""All numbers of a learner: networks, optimizers, counters, and the replay buffer where it has one.

What a file holds is compared with the learner that takes it up, by names, shapes and types, before anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from mapopt.errors import AgentError
from mapopt.weights import check_like


@dataclass(frozen=True, kw_only=True)
class LearnerState:
    """All numbers of a learner."""

    policy: dict[str, Any]
    """Name -> tensor of the networks."""
    optimizers: dict[str, Any] = field(default_factory=dict)
    """Name -> state of every optimizer, as torch has it."""
    tensors: dict[str, Any] = field(default_factory=dict)
    """Name -> tensor that is in no network, such as the weight of the entropy."""
    counters: dict[str, int] = field(default_factory=dict)
    """Name -> steps and updates so far."""
    replay: dict[str, Any] = field(default_factory=dict)
    """Name -> tensor ``[steps, lanes, ...]`` of what is replayed."""


def state_of(model: BaseAlgorithm) -> LearnerState:
    """Returns all numbers of a learner of stable-baselines3 or sb3-contrib, as they are now."""
    modules, tensors = model._get_torch_save_params()
    return LearnerState(
        policy=model.policy.state_dict(),
        optimizers={name: attrgetter(name)(model).state_dict() for name in modules if name != "policy"},
        tensors={name: attrgetter(name)(model).detach() for name in tensors},
        counters=_counters(model),
        replay=dict(_replayed(model)),
    )


def restore(model: BaseAlgorithm, state: LearnerState, where: str) -> None:
    """Gives a learner other numbers.

    Args:
        model: a fresh learner.
        state: its numbers from now on.
        where: they are from, for the messages.

    Raises:
        AgentError: they are not of such a learner, which is left as it is.
    """
    now, kind = state_of(model), type(model).__name__
    check_like(state.policy, now.policy, f"{where}: policy", error=AgentError)
    check_like(state.tensors, now.tensors, f"{where}: tensors", error=AgentError)
    if set(state.optimizers) != set(now.optimizers):
        raise AgentError(f"{where}: the optimizers are not those of {kind}")
    for name in now.optimizers:
        _check_optimizer(state.optimizers[name], attrgetter(name)(model), f"{where}: {name}")
    # The first trainings kept no counters, which PPO makes nothing of.
    if state.counters and set(state.counters) != set(now.counters):
        raise AgentError(f"{where}: the counters are not those of {kind}")
    buffer = getattr(model, "replay_buffer", None)
    position = _check_replay(state, buffer, where) if buffer is not None or state.replay else 0
    model.policy.load_state_dict(state.policy)
    for name, kept in state.optimizers.items():
        attrgetter(name)(model).load_state_dict(kept)
    for name, tensor in state.tensors.items():
        attrgetter(name)(model).data.copy_(tensor)
    for name in _COUNTERS:
        if name in state.counters:
            setattr(model, name, state.counters[name])
    if buffer is not None:
        _fill(buffer, state.replay, position)


_COUNTERS = ("num_timesteps", "_n_updates", "_n_calls")
_POSITION = "replay_position"
_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _counters(model: Any) -> dict[str, int]:
    """Returns what a learner counts, and where its replay buffer goes on."""
    counters = {name: int(getattr(model, name)) for name in _COUNTERS if hasattr(model, name)}
    buffer = getattr(model, "replay_buffer", None)
    return counters if buffer is None else {**counters, _POSITION: int(buffer.pos)}


def _replayed(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields what a learner replays by name, in the buffer's order, because positions are drawn from it."""
    buffer: ReplayBuffer | None = getattr(model, "replay_buffer", None)
    if buffer is not None:
        for name in _ARRAYS:
            yield name, torch.from_numpy(getattr(buffer, name)[: buffer.size()])


def _check_replay(state: LearnerState, buffer: ReplayBuffer | None, where: str) -> int:
    """Raises AgentError unless what is replayed fits a replay buffer; returns where it goes on."""
    if buffer is None:
        raise AgentError(f"{where}: has a replay buffer, and the learner has none")
    rewards = state.replay.get("rewards")
    count = len(rewards) if isinstance(rewards, torch.Tensor) and rewards.ndim else 0
    if count > buffer.buffer_size:
        raise AgentError(f"{where}: replays {count} steps of every lane, more than {buffer.buffer_size}")
    like = {name: torch.from_numpy(getattr(buffer, name)[:count]) for name in _ARRAYS}
    check_like(state.replay, like, f"{where}: replay", error=AgentError)
    position = state.counters.get(_POSITION, -1)
    expected = range(buffer.buffer_size) if count == buffer.buffer_size else (count,)
    if position not in expected:
        raise AgentError(f"{where}: the replay buffer goes on at {position}, which does not fit its {count} steps")
    return position


def _fill(buffer: ReplayBuffer, replay: Mapping[str, torch.Tensor], position: int) -> None:
    """Puts what is replayed into a buffer."""
    count = len(replay["rewards"])
    for name in _ARRAYS:
        getattr(buffer, name)[:count] = replay[name].numpy()
    buffer.full, buffer.pos = count == buffer.buffer_size, position


def _check_optimizer(kept: Any, optimizer: torch.optim.Optimizer, where: str) -> None:
    """Raises AgentError unless the state of an optimizer is of its parameters, with the same settings."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = kept.get("state") if isinstance(kept, Mapping) else None
    if not isinstance(moments, Mapping) or _settings_of(kept) != _settings_of(optimizer.state_dict()):
        raise AgentError(f"{where} has other settings than this training's")
    names = _MOMENTS.get(type(optimizer).__name__, ())
    for number, state in moments.items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(state, Mapping):
            raise AgentError(f"{where} has other parameters than this training's")
        steps = state.get("step")
        if type(steps) is not int and not isinstance(steps, torch.Tensor):
            raise AgentError(f"{where}: a count of steps is missing")
        like = {"step": torch.tensor(0.0), **dict.fromkeys(names, parameters[number])}
        whole = {**state, "step": torch.tensor(float(steps))} if type(steps) is int else state
        check_like(whole, like, f"{where}, parameter {number}", error=AgentError)


_MOMENTS = {
    "Adam": ("exp_avg", "exp_avg_sq"),
    "AdamW": ("exp_avg", "exp_avg_sq"),
    "RMSprop": ("square_avg",),
}
"""Optimizer -> what it keeps of every parameter, besides its steps."""


def _settings_of(state: Mapping[str, Any]) -> Any:
    """Returns an optimizer's settings as they compare, whatever else a version of torch knows."""
    groups = state.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return None
    names = ("params", "lr", "betas", "alpha", "eps", "momentum", "weight_decay", "amsgrad", "maximize")
    return [[list(value) if isinstance(value, tuple) else value for value in map(group.get, names)] for group in groups]
