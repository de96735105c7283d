"""One score for a setting that was tried on several tasks, of which none must dominate.

The AP of an easy task moves by more than that of a hard one, so APs of different tasks are never added as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mapopt.registry import Registry

Scorer = Callable[[np.ndarray], np.ndarray]
"""Takes val APs ``[settings, tasks]``, means over the seeds, to scores ``[settings]``, the higher the better."""


def relative(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the tasks of AP relative to the best setting's on the task: 1 is the best on every task.

    >>> relative(np.array([[0.4, 0.1], [0.3, 0.2]])).round(3).tolist()
    [0.75, 0.875]
    """
    best = values.max(axis=0)
    # Where nothing was learned at all, every setting is as good as any.
    return np.divide(values, best, out=np.ones_like(values, dtype=np.float64), where=best > 0).mean(axis=1)


def rank(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the tasks of the fraction of the other settings that a setting beats; a tie counts half.

    It sees no difference between winning by little and by much, and is for tasks of which one would still dominate.

    >>> rank(np.array([[0.4, 0.1], [0.3, 0.3], [0.2, 0.3]])).round(3).tolist()
    [0.5, 0.625, 0.375]
    """
    if len(values) == 1:
        return np.ones(1)
    beaten = (values[:, None] > values[None]).sum(axis=1) + ((values[:, None] == values[None]).sum(axis=1) - 1) / 2
    return (beaten / (len(values) - 1)).mean(axis=1)


SCORERS: Registry[Scorer] = Registry(
    "scorer",
    {"relative": "mapopt.agents.search.scoring:relative", "rank": "mapopt.agents.search.scoring:rank"},
    check=lambda part: "" if callable(part) else "is no function of val APs [settings, tasks]",
)
"""Each is a function of val APs ``[settings, tasks]`` that returns scores ``[settings]``."""
