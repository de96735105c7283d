"""What both forms of the post-processing environment are made of, and how an episode's instance is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Space

from mapopt.envs.lanes import reset_numbers
from mapopt.envs.post_processing.actions import SettingAction, SettingSpace
from mapopt.envs.post_processing.lanes import LIMIT, PostProcessingLane, Problems, observation_names
from mapopt.envs.post_processing.registries import make_candidates, make_setting_action
from mapopt.envs.post_processing.settings import PostProcessingEnvSettings

if TYPE_CHECKING:
    from mapopt.envs.post_processing.candidates import CandidateFamily


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts that both forms of the environment have."""

    family: CandidateFamily
    form: SettingAction
    lanes: tuple[PostProcessingLane, ...]
    """For every lane its own; prepared instances are common to all."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every entry of an observation."""
        return observation_names(self.form.space)

    @property
    def spaces(self) -> tuple[Space[Any], Box]:
        """The action space and the observation space of a lane."""
        return self.form.space_of_actions(), Box(-LIMIT, LIMIT, (len(self.names),), np.float32)

    def draw_start(self, generator: np.random.Generator, options: Mapping[str, Any] | None = None) -> int:
        """Draws the instance of an episode, unless the options name it.

        Raises:
            ConfigError: an option is unknown or out of its range.
        """
        given = reset_numbers(options, {"instance": self.family.count})
        drawn = int(generator.integers(self.family.count))
        return given.get("instance", drawn)


def make_setup(settings: PostProcessingEnvSettings, *, num_lanes: int = 1) -> Setup:
    """Makes the parts of an environment.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    family = make_candidates(settings.family)
    form = make_setting_action(settings.action, SettingSpace(family.classes), step_size=settings.step_size)
    problems = Problems(family, form.space.default)
    lanes = [
        PostProcessingLane(problems, form, reward=settings.reward, length=settings.length) for _ in range(num_lanes)
    ]
    return Setup(family=family, form=form, lanes=tuple(lanes))
