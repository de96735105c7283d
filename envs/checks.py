"""What both environments refuse, in the same words: actions, numbers of environments, and numbers among settings.

An action inside its space is taken as it is. A number outside a box is clipped to it, as learners with unbounded
policies expect; everything else that is not of the space is refused before anything has happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mapopt.errors import ConfigError

if TYPE_CHECKING:
    from gymnasium.vector import AutoresetMode


def read_numbers(action: Any, size: int) -> np.ndarray:
    """Returns a continuous action as float64 ``[size]``, clipped to [-1, 1].

    Raises:
        ConfigError: it is of another shape, or not of finite numbers.
    """
    given = read_array(action)
    if given.shape != (size,) or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
        raise ConfigError(f"an action of shape {given.shape}, {_shown(given)}: expected ({size},), finite, in [-1, 1]")
    return np.clip(given.astype(np.float64), -1.0, 1.0)


def read_choices(action: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Returns a discrete action.

    Raises:
        ConfigError: it is of another shape, or not of whole numbers from 0 to ``count - 1``.
    """
    choices = read_array(action)
    fits = choices.shape == shape and choices.dtype.kind in "iu"
    if not fits or (choices < 0).any() or (choices >= count).any():
        raise ConfigError(
            f"an action of shape {choices.shape}, {_shown(choices)}: expected whole numbers from 0 to {count - 1} "
            f"of shape {shape}"
        )
    return choices


def read_array(action: Any) -> np.ndarray:
    """Returns an action as an array.

    Raises:
        ConfigError: it has rows of different lengths.
    """
    try:
        return np.asarray(action)
    except ValueError as error:
        raise ConfigError(
            f"an action is a {type(action).__name__} of unequal rows: expected one of the action space"
        ) from error


def check_lane_actions(actions: Any, num_envs: int) -> None:
    """Raises ConfigError unless there is an action for every environment."""
    if isinstance(actions, str) or not hasattr(actions, "__len__") or getattr(actions, "ndim", 1) == 0:
        raise ConfigError(f"actions are {actions!r}: expected one for each of {num_envs} environments")
    if len(actions) != num_envs:
        raise ConfigError(f"{len(actions)} actions were given for {num_envs} environments: give each its own")


def check_num_envs(num_envs: int) -> None:
    """Raises ConfigError unless there is at least one environment."""
    check_whole("num_envs", num_envs, "at least one environment")


def check_whole(name: str, value: Any, expected: str) -> None:
    """Raises ConfigError unless a setting is a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name} is {value!r}: expected {expected}")


def is_number(value: Any) -> bool:
    """Returns whether a setting is a finite number."""
    return not isinstance(value, bool) and isinstance(value, int | float | np.number) and math.isfinite(value)


def read_autoreset_mode(given: AutoresetMode | str) -> AutoresetMode:
    """Returns when an ended episode is replaced.

    Raises:
        ConfigError: there is no such mode.
    """
    from gymnasium.vector import AutoresetMode

    try:
        return AutoresetMode(given)
    except ValueError as error:
        modes: Sequence[str] = [mode.value for mode in AutoresetMode]
        raise ConfigError(f"autoreset_mode is {given!r}: expected one of {', '.join(map(repr, modes))}") from error


def _shown(values: np.ndarray) -> str:
    return str(values.tolist())[:80] if values.size <= 8 else f"{values.size} numbers"
