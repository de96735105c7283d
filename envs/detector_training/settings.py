"""The arguments that all faces share, and how they become a world; how an episode is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.utils import seeding

from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, Action, make_action
from mapopt.envs.detector_training.lanes import Start, World
from mapopt.envs.detector_training.observations import observation_space
from mapopt.envs.detector_training.rewards import Reward
from mapopt.envs.families import InstanceFamily, make_family
from mapopt.errors import ConfigError, unknown_name
from mapopt.training.task import Budget

DEFAULT_BUDGET = Budget(images=16 * 800, rounds=20)

RENDER_MODES = ("ansi", "rgb_array")

MOST_SEEDS = 2**31
"""Seeds that a training may have: those below."""


def make_world(
    family: str | InstanceFamily,
    *,
    budget: Budget,
    knobs: Sequence[str] | None,
    action: str | Action,
    reach: float | None,
    notch: float | None,
    reward: str,
    cost_per_image: float,
    features: Sequence[str] | None,
    seconds_limit: float | None,
    lanes: int,
    device: str,
    render_mode: str | None,
) -> World:
    """Makes the world behind a face; see `DetectorTrainingEnv` for the arguments.

    Raises:
        ConfigError: an argument is unknown or out of its range, or contradicts another.
    """
    if render_mode not in (None, *RENDER_MODES):
        raise ConfigError(f"render_mode is {render_mode!r}: expected {', '.join(map(repr, RENDER_MODES))} or None")
    if isinstance(action, str):
        action = make_action(action, knobs=DEFAULT_KNOBS if knobs is None else knobs, reach=reach, notch=notch)
    elif any(one is not None for one in (knobs, reach, notch)):
        raise ConfigError("an action object was given with knobs, reach or notch, which it brings: leave them out")
    return World(
        make_family(family) if isinstance(family, str) else family,
        budget,
        action,
        reward=Reward(name=reward, cost_per_image=cost_per_image),
        features=features,
        seconds_limit=seconds_limit,
        lanes=lanes,
        device=device,
    )


def spaces_of(world: World) -> tuple[Space[Any], Box]:
    """Returns the action space and the observation space of one lane."""
    return world.action.space_of_actions(), observation_space(world.names)


def draw_start(
    generator: np.random.Generator, family: InstanceFamily, options: Mapping[str, Any] | None = None
) -> Start:
    """Draws the instance and the training's seed of an episode, unless the options name them.

    Raises:
        ConfigError: an option is unknown or out of its range.
    """
    given = reset_numbers(options, {"instance": family.count, "training_seed": MOST_SEEDS})
    number, seed = int(generator.integers(family.count)), int(generator.integers(MOST_SEEDS))
    return Start(instance=given.get("instance", number), seed=given.get("training_seed", seed))


def reset_numbers(options: Mapping[str, Any] | None, allowed: Mapping[str, int]) -> dict[str, int]:
    """Returns the whole numbers that reset options give, by name.

    Args:
        options: what `reset` was given.
        allowed: the options there are, each with the first number that is too large for it.

    Raises:
        ConfigError: an option is unknown, is no whole number, or is out of its range.
    """
    given = dict(options or {})
    for name, value in given.items():
        if name not in allowed:
            raise ConfigError(unknown_name("reset option", str(name), allowed))
        if not _is_whole(value) or not 0 <= value < allowed[name]:
            raise ConfigError(
                f"reset option '{name}' is {value!r}: expected a whole number from 0 to {allowed[name] - 1}"
            )
    return {name: int(value) for name, value in given.items()}


def lanes_to_reset(
    seed: int | Sequence[int | None] | None, options: Mapping[str, Any] | None, num_envs: int
) -> tuple[np.ndarray, list[int | None], dict[str, Any]]:
    """Reads what the `reset` of a vector environment was given, as Gymnasium means it.

    Args:
        seed: one, which gives lane i the seed + i; or one for every lane, None leaving a lane its own generator.
        options: may hold ``reset_mask``, bool ``[num_envs]``: the lanes to reset; the others go on.
        num_envs: lanes there are.

    Returns:
        Which lanes to reset, bool ``[num_envs]``; the seed of each, None for one that goes on; the other options.

    Raises:
        ConfigError: the mask or the seeds are not one for every lane, or a seed is no whole number from 0.
    """
    rest = dict(options or {})
    mask = np.asarray(rest.pop("reset_mask", np.ones(num_envs, dtype=bool)))
    if mask.shape != (num_envs,) or mask.dtype != bool or not mask.any():
        raise ConfigError(
            f"reset_mask of shape {mask.shape}: expected ({num_envs},) with at least one True, "
            "and nothing but True and False"
        )
    given: list[Any]
    if seed is None:
        given = [None] * num_envs
    elif isinstance(seed, int | np.integer):
        given = [int(seed) + lane for lane in range(num_envs)]
    elif isinstance(seed, Sequence | np.ndarray):
        given = list(seed)
    else:
        given = [seed]
    for one in given:
        if one is not None and not (_is_whole(one) and one >= 0):
            raise ConfigError(f"a seed is {one!r}: expected a whole number from 0, or None")
    if len(given) != num_envs:
        raise ConfigError(f"{len(given)} seeds were given for {num_envs} environments: give one, or one each")
    return mask, [None if one is None or not reset else int(one) for one, reset in zip(given, mask, strict=True)], rest


def make_generator(seed: int | None) -> np.random.Generator:
    """Returns the generator Gymnasium makes from a seed, so that vector and single faces draw the same episodes."""
    return seeding.np_random(seed)[0]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
