"""How inner loops are compiled, by numba and once on a machine, and how they are loaded where they are first needed.

Importing numba costs 0.4 s, so a module of compiled functions is imported by nobody at the top: `load_kernels` does it.
Floating point stays strict (no fastmath), so that a compiled loop gives the bits that its plain twin gives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

_missing: dict[str, str] = {}
"""Modules that could not be loaded, and why: it is tried once, because a failing import searches the disk."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles at the first call and keeps the result on disk, where a folder can be written at all."""
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True)


def load_kernels(module: str) -> ModuleType | None:
    """Imports a module of compiled functions by its name; returns None where numba is missing or does not work."""
    if module in _missing:
        return None
    try:
        return importlib.import_module(module)
    except ImportError as error:  # numba says so too when it does not know this numpy
        _missing[module] = str(error)
        return None


def why_missing(module: str) -> str:
    """Returns what `load_kernels` met when it could not load a module; empty if it could, or did not try."""
    return _missing.get(module, "")
