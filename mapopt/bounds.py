"""How large whole numbers of settings may be: what is above would crash or never end, and says so instead."""

from __future__ import annotations

from numbers import Integral

from mapopt.errors import ConfigError

SEEDS = 2**32 - 1
"""The largest seed; numpy's generators take no larger one, and none below 0."""
THREADS = 1024
"""Of the CPU; far more end the process."""
WORKERS = 1024
"""Processes."""
LANES = 4096
"""Detectors that one method tries at once; the weights of far more fill the memory."""
SIDE = 16384
"""Pixels of an image's side."""
COUNT = 10**12
"""Of images, counted again in every epoch, of rounds and of resamples."""
WEIGHT = 1e6
"""Of a term of the loss."""


def check_whole(name: str, value: int, low: int = 0, high: int = COUNT) -> None:
    """Raises ConfigError unless a whole number lies within its bounds.

    >>> check_whole("seed", -1, 0, SEEDS)
    Traceback (most recent call last):
    mapopt.errors.ConfigError: seed is -1: expected a whole number from 0 to 4294967295
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise ConfigError(f"{name} is {value}: expected a whole number from {low} to {high}")


def check_seed(value: int, name: str = "seed") -> None:
    """Raises ConfigError unless a number can be a seed."""
    check_whole(name, value, 0, SEEDS)
