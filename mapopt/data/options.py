"""Checks what may be said about how a folder is read; without torch, so that flags are checked at once."""

from __future__ import annotations

from collections.abc import Sequence

from mapopt.errors import ConfigError, shown


def check_fractions(fractions: Sequence[float]) -> None:
    """Raises an error where numbers are not fractions of a whole.

    Raises:
        ConfigError: they are not three positive numbers whose sum is 1.
    """
    whole = len(fractions) == 3 and all(0 < fraction < 1 for fraction in fractions) and abs(sum(fractions) - 1) < 1e-6
    if not whole:
        raise ConfigError(
            f"split is {shown(fractions)}: expected three positive fractions for train, val and test whose sum is 1, "
            "such as 0.7 0.15 0.15"
        )


def check_bits(bits: int) -> None:
    """Raises an error where images with 16 bits cannot use so many.

    Raises:
        ConfigError: they are not 8 to 16.
    """
    if not 8 <= bits <= 16:
        raise ConfigError(f"bits is {bits}: expected 8 to 16, how many bits of 16-bit images are in use")
