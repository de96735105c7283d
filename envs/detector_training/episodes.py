"""How an episode of detector training is drawn, and what both forms of the environment have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from mapopt.envs.detector_training.lanes import DetectorTrainingLanes
from mapopt.envs.detector_training.observations import observation_space
from mapopt.envs.detector_training.settings import NUM_SEEDS, EnvSettings
from mapopt.envs.detector_training.states import Start
from mapopt.envs.lanes import reset_numbers
from mapopt.errors import ConfigError

RENDER_MODES = ("ansi", "rgb_array")


def make_lanes(settings: EnvSettings, *, num_lanes: int, render_mode: str | None) -> DetectorTrainingLanes:
    """Makes the lanes of an environment.

    Raises:
        ConfigError: there is no such render mode; or as `DetectorTrainingLanes`.
    """
    if render_mode not in (None, *RENDER_MODES):
        raise ConfigError(f"render_mode is {render_mode!r}: expected {', '.join(map(repr, RENDER_MODES))} or None")
    return DetectorTrainingLanes(settings, num_lanes=num_lanes)


def spaces_of(lanes: DetectorTrainingLanes) -> tuple[Space[Any], Box]:
    """Returns the action space and the observation space of a lane."""
    return lanes.action.space_of_actions(), observation_space(lanes.features)


def draw_start(
    generator: np.random.Generator, lanes: DetectorTrainingLanes, options: Mapping[str, Any] | None = None
) -> Start:
    """Draws the instance and the training's seed of an episode, unless the options name them.

    Raises:
        ConfigError: an option is unknown or out of its range.
    """
    settings, count = lanes.settings, lanes.family.count
    given = reset_numbers(options, {"instance": count, "training_seed": NUM_SEEDS})
    number = int(generator.integers(count - settings.held_out))
    seed = int(generator.integers(settings.num_seeds or NUM_SEEDS))
    return Start(instance=given.get("instance", number), seed=given.get("training_seed", seed))
