"""What lanes are given and give: how an episode begins, what a step of it gave, and all of it at a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.envs.families.base import Instance, InstanceFamily
from mapopt.errors import CheckpointError
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


def check_state(state: EpisodeState, family: InstanceFamily, budget: Budget, measures: Iterable[str]) -> Instance:
    """Checks that a state is of an episode that could have been played here.

    Args:
        state: of an episode.
        family: of the instances here.
        budget: of episodes whose instances bring none.
        measures: what is measured in every round here.

    Returns:
        the instance of the episode.

    Raises:
        CheckpointError: it is of another one.
    """
    number = state.start.instance
    if number >= family.count:
        raise CheckpointError(
            f"the state is of instance {number} and this family has {family.count}: "
            "make the environment with the family that the state is of"
        )
    instance = family.instance(number)
    if state.fingerprint != fingerprint(instance):
        raise CheckpointError(
            f"the state is of other data than instance {number} has here: "
            "make the environment with the family that the state is of"
        )
    here = instance.budget or budget
    if state.budget != here:
        raise CheckpointError(
            f"the state is of an episode of {state.budget} and those here have {here}: "
            "make the environment with the state's budget"
        )
    missing = sorted(set(measures) - set(state.measures))
    if missing and state.history:
        raise CheckpointError(
            f"{', '.join(missing)} was not measured where the state is from: "
            "make the environment with the reward and the features that it had there"
        )
    return instance


def fingerprint(instance: Instance) -> str:
    """Returns hexadecimal digits that change with any pixel, object, starting knob or budget of an instance."""
    splits = instance.task.splits
    content: tuple[object, ...] = (
        instance.description,
        instance.task.knobs,
        instance.budget,
        *(split.fingerprint for split in (splits.train, splits.val, splits.test)),
    )
    if instance.shift is not None:
        content += (instance.shift.fraction, instance.shift.train.fingerprint)
    return hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()
