"""What an environment says of itself from inside its wrappers: its attributes, its actions' names, its baseline."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Space
from gymnasium.vector import VectorActionWrapper, VectorEnv

from mapopt.errors import ConfigError


def attribute(env: gymnasium.Env | VectorEnv, name: str) -> Any:
    """Returns an attribute of the outermost wrapper that has it, or of the environment itself.

    Raises:
        AttributeError: none of them has it.
    """
    inner: Any = env
    while not hasattr(inner, name):
        if inner is inner.unwrapped:
            raise AttributeError(f"neither {env.unwrapped} nor a wrapper around it has the attribute '{name}'")
        inner = inner.env
    return getattr(inner, name)


def action_names(env: gymnasium.Env | VectorEnv) -> tuple[str, ...]:
    """Returns the name of every entry of an environment's action.

    Raises:
        ConfigError: the environment does not name them, or a wrapper has made others of them.
    """
    names = _of_actions(env, "action_names")
    if names is None:
        raise ConfigError(
            f"the actions of {env} have no names: expected an environment with `action_names`, such as "
            "mapopt/DetectorTraining-v0, and no wrapper around it that makes other actions of them"
        )
    return tuple(names)


def baseline_action(env: gymnasium.Env | VectorEnv) -> Any:
    """Returns the action that is the baseline; None where none is, or where a wrapper has made others of them."""
    return _of_actions(env, "baseline_action")


def _of_actions(env: gymnasium.Env | VectorEnv, name: str) -> Any:
    inner: Any = env
    while not hasattr(inner, name):
        if inner is inner.unwrapped or _changes_actions(inner):
            return None
        inner = inner.env
    return getattr(inner, name)


def _changes_actions(wrapper: Any) -> bool:
    changer = isinstance(wrapper, gymnasium.ActionWrapper | VectorActionWrapper)
    return changer or _space(wrapper) != _space(wrapper.env)


def _space(env: gymnasium.Env | VectorEnv) -> Space:
    return env.single_action_space if isinstance(env, VectorEnv) else env.action_space
