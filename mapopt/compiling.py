"""How inner loops are compiled: by numba, once on a machine; only kernels import this, because numba costs 0.4 s.

Floating point stays strict (no fastmath), so that a compiled loop gives the bits that its plain twin gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles at the first call and keeps the result on disk, where a folder can be written at all."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True)
