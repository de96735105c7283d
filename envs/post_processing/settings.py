"""What both faces of the post-processing environment are made of, and how an episode's instance is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Space

from mapopt.envs.lanes import reset_numbers
from mapopt.envs.post_processing.actions import STEP_SIZE, SettingAction, SettingSpace
from mapopt.envs.post_processing.candidates import CandidateFamily
from mapopt.envs.post_processing.lanes import LIMIT, PostProcessingLane, Problems, seen_names
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.errors import ConfigError, unknown_name

LENGTH = 32

CANDIDATE_FAMILIES: dict[str, type[SyntheticCandidates]] = {"synthetic": SyntheticCandidates}
"""Families that need no more than their name; others are given as objects."""

Reward = Literal["ap", "f1", "lrp"]
Form = Literal["absolute", "discrete"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts that faces share."""

    family: CandidateFamily
    form: SettingAction
    lanes: tuple[PostProcessingLane, ...]
    """One for every lane; they share prepared instances."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every entry of an observation."""
        return seen_names(self.form.space)

    @property
    def spaces(self) -> tuple[Space[Any], Box]:
        """The action space and the observation space of one lane."""
        return self.form.space_of_actions(), Box(-LIMIT, LIMIT, (len(self.names),), np.float32)

    def draw_start(self, generator: np.random.Generator, options: Mapping[str, Any] | None = None) -> int:
        """Draws the instance of an episode, unless the options name it.

        Raises:
            ConfigError: an option is unknown or out of its range.
        """
        given = reset_numbers(options, {"instance": self.family.count})
        drawn = int(generator.integers(self.family.count))
        return given.get("instance", drawn)


def make_setup(
    family: str | CandidateFamily,
    *,
    reward: str,
    action: str,
    length: int,
    step_size: float = STEP_SIZE,
    num_lanes: int = 1,
) -> Setup:
    """Makes what is behind a face; see `PostProcessingEnv` for the arguments.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """
    if isinstance(family, str):
        if family not in CANDIDATE_FAMILIES:
            raise ConfigError(unknown_name("family of candidates", family, CANDIDATE_FAMILIES))
        family = CANDIDATE_FAMILIES[family]()
    form = SettingAction(SettingSpace(family.classes), action, step_size=step_size)
    problems = Problems(family, form.space.default)
    lanes = tuple(PostProcessingLane(problems, form, reward=reward, length=length) for _ in range(num_lanes))
    return Setup(family=family, form=form, lanes=lanes)
