"""What the lanes of both environments have in common: reset options and seeds, generators, and the info of a lane."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from mapopt.errors import ConfigError, unknown_name


def reset_numbers(options: Mapping[str, Any] | None, allowed: Mapping[str, int]) -> dict[str, int]:
    """Returns the whole numbers that reset options give, by name.

    Args:
        options: what `reset` was given.
        allowed: the options there are, each with the first number that is too large for it.

    Raises:
        ConfigError: an option is unknown, is no whole number, or is out of its range.
    """
    given = _options(options)
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
        seed: a number, which gives lane i the seed + i; or a number for every lane, None leaving a lane its own
            generator.
        options: may hold ``reset_mask``, bool ``[num_envs]``: the lanes to reset; the others go on.
        num_envs: lanes there are.

    Returns:
        Which lanes to reset, bool ``[num_envs]``; the seed of each, None for one that goes on; the other options.

    Raises:
        ConfigError: the mask or the seeds are not one for every lane, or a seed is no whole number from 0.
    """
    rest = _options(options)
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
    for number in given:
        if number is not None and not (_is_whole(number) and number >= 0):
            raise ConfigError(f"a seed is {number!r}: expected a whole number from 0, or None")
    if len(given) != num_envs:
        raise ConfigError(f"{len(given)} seeds were given for {num_envs} environments: give one, or one each")
    seeds = [None if number is None or not reset else int(number) for number, reset in zip(given, mask, strict=True)]
    return mask, seeds, rest


def make_generator(seed: int | None) -> np.random.Generator:
    """Returns the generator Gymnasium makes from a seed, so that vector and single forms draw the same episodes."""
    return seeding.np_random(seed)[0]


def _options(options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping | None):
        raise ConfigError(f"options are {options!r}: expected a dictionary, such as {{'instance': 3}}, or None")
    return dict(options or {})


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def lane_info(infos: dict[str, Any], lane: int) -> dict[str, Any]:
    """Takes one lane's entries out of a vector environment's infos."""
    mine = {}
    for name, values in infos.items():
        if name.startswith("_") or (f"_{name}" in infos and not infos[f"_{name}"][lane]):
            continue
        mine[name] = lane_info(values, lane) if isinstance(values, dict) else values[lane]
    return mine


def lane_end(info: Mapping[str, Any], first_names: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides the info of a lane in a step between the episode it played on and the one that begins in the same step.

    Args:
        info: of the lane, as `lane_info` gives it.
        first_names: names in the info of a lane's reset.

    Returns:
        The info of the round that was played, with what wrappers have added to it; the first info of the next episode.
    """
    ended, begun = {}, {}
    for name, value in info.items():
        if name in first_names:
            begun[name] = value
        elif name not in ("final_obs", "final_info"):
            ended[name] = value
    return {**ended, **info.get("final_info", {})}, begun
