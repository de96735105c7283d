"""Reference runs: what a baseline is paid on the same instance with the same training seed, to be taken off a reward.

Rewards differ the most by instance and by training seed; the difference to a run that has both in common is left with
what an agent decides. A reference run depends on nothing that an agent does, so each is played once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from mapopt.envs.detector_training.states import Outcome, Start
from mapopt.training.history import Measure

Key = tuple[int, int]
"""Instance and training seed."""


class Lanes(Protocol):
    """The lanes that reference runs are played on, as `DetectorTrainingLanes` are."""

    num_lanes: int
    over: list[bool]
    measures: tuple[Measure, ...]
    tested: bool

    def reset(self, starts: Mapping[int, Start]) -> Any:
        """Begins new episodes."""

    def step(self, actions: Sequence[Any], *, active: Sequence[bool]) -> dict[int, Outcome]:
        """Plays one round on every active lane."""


class References:
    """Reference runs by instance and training seed.

    Args:
        make: makes the lanes that they are played on; their action is a `Following`.
        measures: what has to be measured in every round.
    """

    def __init__(self, make: Callable[[], Lanes], *, measures: Sequence[Measure] = ()) -> None:
        self._make, self._measures = make, tuple(measures)
        self._lanes: Lanes | None = None
        self.known: dict[Key, tuple[float, ...]] = {}
        """What every reference run that was played was paid after each of its rounds."""

    def missing(self, starts: Iterable[Start]) -> list[Key]:
        """Returns what has yet to be played for some episodes, in order and each once."""
        return sorted({key_of(start) for start in starts} - self.known.keys())

    def play(self, keys: Sequence[Key]) -> None:
        """Plays reference runs."""
        left = [key for key in dict.fromkeys(keys) if key not in self.known]
        if left and self._lanes is None:
            self._lanes = self._make()
            self._lanes.measures = tuple(sorted({*self._lanes.measures, *self._measures}))
            self._lanes.tested = False
        while left and self._lanes is not None:
            batch, left = left[: self._lanes.num_lanes], left[self._lanes.num_lanes :]
            self.known |= zip(batch, _played(self._lanes, batch), strict=True)

    def taken(self, start: Start, index: int, *, ended: bool) -> float:
        """Returns what is taken off the reward of a round.

        Args:
            start: of the episode.
            index: of the round.
            ended: whether the episode is over, and not cut short: then the rest of the reference is taken off, too, so
                that a return is always the run's own less the reference's.
        """
        rewards = self.known[key_of(start)]
        now = rewards[index] if index < len(rewards) else 0.0
        return now + sum(rewards[index + 1 :]) if ended else now


def key_of(start: Start) -> Key:
    """Returns what an episode has in common with its reference."""
    return int(start.instance), int(start.seed)


def _played(lanes: Lanes, keys: Sequence[Key]) -> list[tuple[float, ...]]:
    """Plays as many reference runs as there are lanes, or fewer; returns what each was paid."""
    lanes.reset({lane: Start(instance=number, seed=seed) for lane, (number, seed) in enumerate(keys)})
    rewards: list[list[float]] = [[] for _ in keys]
    while not all(lanes.over[: len(keys)]):
        active = [lane < len(keys) and not lanes.over[lane] for lane in range(lanes.num_lanes)]
        for lane, outcome in lanes.step([0] * lanes.num_lanes, active=active).items():
            rewards[lane].append(outcome.reward)
    return [tuple(each) for each in rewards]
