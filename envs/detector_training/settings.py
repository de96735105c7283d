"""The arguments that all faces share, and how they become a world; how an episode is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, Action, make_action
from mapopt.envs.detector_training.lanes import DetectorTrainingLanes, Start
from mapopt.envs.detector_training.observations import observation_space
from mapopt.envs.detector_training.rewards import Reward
from mapopt.envs.families import InstanceFamily, make_family
from mapopt.envs.lanes import reset_numbers
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget

DEFAULT_BUDGET = Budget(images=16 * 800, rounds=20)

RENDER_MODES = ("ansi", "rgb_array")

NUM_SEEDS = 2**31
"""Seeds that a training may have: those below."""


def make_lanes(
    family: str | InstanceFamily,
    *,
    budget: Budget,
    knobs: Sequence[str] | None,
    action: str | Action,
    scale: float | None,
    step_size: float | None,
    reward: str,
    cost_per_image: float,
    features: Sequence[str] | None,
    seconds_limit: float | None,
    num_lanes: int,
    device: str,
    render_mode: str | None,
) -> DetectorTrainingLanes:
    """Makes the world behind a face; see `DetectorTrainingEnv` for the arguments.

    Raises:
        ConfigError: an argument is unknown or out of its range, or contradicts another.
    """
    if render_mode not in (None, *RENDER_MODES):
        raise ConfigError(f"render_mode is {render_mode!r}: expected {', '.join(map(repr, RENDER_MODES))} or None")
    if isinstance(action, str):
        action = make_action(action, knobs=DEFAULT_KNOBS if knobs is None else knobs, scale=scale, step_size=step_size)
    elif any(one is not None for one in (knobs, scale, step_size)):
        raise ConfigError("an action object was given with knobs, reach or notch, which it brings: leave them out")
    return DetectorTrainingLanes(
        make_family(family) if isinstance(family, str) else family,
        budget,
        action,
        reward=Reward(name=reward, cost_per_image=cost_per_image),
        features=features,
        seconds_limit=seconds_limit,
        num_lanes=num_lanes,
        device=device,
    )


def spaces_of(lanes: DetectorTrainingLanes) -> tuple[Space[Any], Box]:
    """Returns the action space and the observation space of one lane."""
    return lanes.action.space_of_actions(), observation_space(lanes.names)


def draw_start(
    generator: np.random.Generator, family: InstanceFamily, options: Mapping[str, Any] | None = None
) -> Start:
    """Draws the instance and the training's seed of an episode, unless the options name them.

    Raises:
        ConfigError: an option is unknown or out of its range.
    """
    given = reset_numbers(options, {"instance": family.count, "training_seed": NUM_SEEDS})
    number, seed = int(generator.integers(family.count)), int(generator.integers(NUM_SEEDS))
    return Start(instance=given.get("instance", number), seed=given.get("training_seed", seed))
