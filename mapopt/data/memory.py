"""Computes whether sets of images fit into the memory that is free, before the first of them is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mapopt.errors import DataError

_KEPT_FREE = 0.9
"""Fraction of the free memory that images may take: something must be left to work with them."""


def check_memory(counts: Sequence[int], size: tuple[int, int], *, flags: str = "--size or --data-limit") -> None:
    """Raises an error where images at one size do not fit into memory.

    Args:
        counts: images of each set.
        size: (height, width) of the images.
        flags: what makes them smaller or fewer.

    Raises:
        DataError: they do not fit.
    """
    needed, free = sum(counts) * 3 * size[0] * size[1], free_memory()
    if free is not None and needed > _KEPT_FREE * free:
        raise DataError(
            f"{sum(counts)} images at {size[0]} x {size[1]} pixels take {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free. Give a smaller {flags}."
        )


def free_memory() -> int | None:
    """Returns the bytes of memory that are free, also inside a container; None where the system does not say."""
    bounds = [_available(), _left_in_group()]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        # Other systems only say how much there is in all.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _left_in_group() -> int | None:
    """Returns what is left of the limit of a container; what its files occupy can be freed."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        files = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return max(0, limit - used + files)
