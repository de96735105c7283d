"""The settings of the environment of post-processing: one value that both forms of it are made from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from mapopt.envs.checks import check_whole, is_number
from mapopt.envs.choices import check_settings_type, read_choice
from mapopt.envs.post_processing.registries import CANDIDATE_FAMILIES, SETTING_ACTIONS, SETTING_REWARDS
from mapopt.errors import ConfigError, unknown_name

LENGTH = 32
"""Steps of an episode unless another number is given."""


class PostProcessingKeywords(TypedDict, total=False):
    """The keywords of an environment, which are the fields of `PostProcessingEnvSettings` but for the family."""

    reward: Any
    action: Any
    length: int
    step_size: float | None


@dataclass(frozen=True, kw_only=True)
class PostProcessingEnvSettings:
    """What an environment of post-processing is made from; the page of `PostProcessingEnv` says what it does.

    Raises:
        ConfigError: a name is unknown, or an object is not what its field is for; or the length is not positive.

    >>> PostProcessingEnvSettings.of(family={"name": "synthetic", "count": 8}, reward="f1").reward
    'f1'
    """

    family: Any = "synthetic"
    """Where candidates come from: a name in `CANDIDATE_FAMILIES`, or a family."""
    reward: Any = "ap"
    """The value of a setting: a name in `SETTING_REWARDS`, or a function of its score."""
    action: Any = "absolute"
    """The form of action: a name in `SETTING_ACTIONS`, or a class."""
    length: int = LENGTH
    """Steps of an episode."""
    step_size: float | None = None
    """How far a discrete action moves a number; None leaves it to the action, and that of ours moves 0.125."""

    def __post_init__(self) -> None:
        tables = {"family": CANDIDATE_FAMILIES, "reward": SETTING_REWARDS, "action": SETTING_ACTIONS}
        for name, registry in tables.items():
            object.__setattr__(self, name, read_choice(getattr(self, name), registry))
        check_whole("length", self.length, "at least one step")
        if self.step_size is not None and not is_number(self.step_size):
            raise ConfigError(f"step_size is {self.step_size!r}: expected a part of [-1, 1], such as 0.125, or None")

    @classmethod
    def of(
        cls, settings: PostProcessingEnvSettings | None = None, *, family: Any = None, **changes: Any
    ) -> PostProcessingEnvSettings:
        """Returns settings with changes, which may be plain values as a YAML file holds them.

        Args:
            settings: what to change; by default the defaults.
            family: where candidates come from; None leaves it as it is.
            changes: other fields by name.

        Raises:
            ConfigError: a name is unknown, or a value is not what its field takes.
        """
        check_settings_type(settings, cls)
        known = [field.name for field in fields(cls)]
        for name in changes:
            if name not in known:
                raise ConfigError(unknown_name("setting of the environment", name, known))
        if family is not None:
            changes["family"] = family
        return replace(settings or cls(), **changes)
