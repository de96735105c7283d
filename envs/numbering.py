"""Numbered instances: how many there are, and whether they are for training an agent or for evaluating it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mapopt.errors import ConfigError, unknown_name

InstanceSplit = Literal["train", "eval"]
"""What instances are for: training an agent, or evaluating it."""

MAX_INSTANCES = 1_000_000
"""Instances of a split at most: so many seeds are set apart for each."""


def check_split(split: InstanceSplit) -> None:
    """Raises ConfigError unless there is such a split."""
    if split not in get_args(InstanceSplit):
        raise ConfigError(unknown_name("split of instances", str(split), get_args(InstanceSplit)))


def check_count(count: int) -> None:
    """Raises ConfigError unless a split may have so many instances."""
    if type(count) is not int or not 1 <= count <= MAX_INSTANCES:
        raise ConfigError(f"a family of {count} instances: expected 1 to {MAX_INSTANCES}")


def check_number(number: int, count: int) -> None:
    """Raises ConfigError unless a family of so many instances has one of this number."""
    if not isinstance(number, int | np.integer) or not 0 <= number < count:
        raise ConfigError(f"instance {number!r} was asked of a family of {count}: expected 0 to {count - 1}")
