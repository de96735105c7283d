"""What lanes are given and give: how an episode begins, what a step of it gave, and all of it at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.training.budget import Budget
from mapopt.training.history import Round
from mapopt.training.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one step of one lane gave."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


@dataclass(frozen=True, kw_only=True)
class Start:
    """How an episode begins."""

    instance: int
    """Number of the instance."""
    seed: int
    """Of the training: initialisation, order of the data and augmentation."""
    cut: int | None = None
    """Rounds after which the episode is cut short (truncated); None plays it to its end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeState:
    """An episode at a moment, in memory: what is needed to go on from there, in the same lane or in another."""

    start: Start
    history: tuple[Round, ...]
    snapshot: Snapshot
    over: bool
    fingerprint: str
    """Of the instance: its data, starting knobs and description."""
    budget: Budget
    measures: tuple[str, ...]
    """What was measured in every round, beside AP."""
    generator: Mapping[str, Any] | None = None
    """State of the random generator that draws the lane's next episodes, where its environment has one."""
