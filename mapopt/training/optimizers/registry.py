"""The optimizers by name, open to one's own.

An own optimizer is a class with the interface of `RowOptimizer`, which updates a matrix with one row per lane; give
the class, or ``module:attribute``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapopt.registry import Registry

if TYPE_CHECKING:
    from mapopt.training.optimizers.base import RowOptimizer


def _problem(part: Any) -> str:
    """Says what an own optimizer lacks."""
    if not inspect.isclass(part):
        return "is no class: expected one that is made as MyOptimizer(weights, decay, **settings)"
    if not callable(getattr(part, "update", None)):
        return "has no method update(weights, gradient, knobs, active): see mapopt.training.RowOptimizer"
    return ""


OPTIMIZERS: Registry[Callable[..., RowOptimizer]] = Registry(
    "optimizer",
    {"sgd": "mapopt.training.optimizers.sgd:RowSGD", "adamw": "mapopt.training.optimizers.adamw:RowAdamW"},
    check=_problem,
)
"""Each is made of the lanes' weights ``[lanes, n]`` and the mask ``[n]`` of what decays."""
