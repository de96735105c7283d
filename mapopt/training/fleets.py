"""Lanes whose recipes may differ: one fleet for every kind of task that some lane has now.

A lane's numbers do not depend on its neighbors, so neither do they depend on which lanes are in its fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from mapopt.detectors.registry import supports_lanes
from mapopt.errors import ConfigError
from mapopt.training.fleet import Fleet
from mapopt.training.snapshots import Snapshot
from mapopt.training.task import Task, difference


class Fleets:
    """Lanes that are in one fleet or in several, as their tasks say.

    Lanes of a detector that trains many at once share a fleet where their tasks are alike
    (`mapopt.training.task.check_alike`); any other detector's lanes have one each. On the CPU lanes of a fleet that are
    elsewhere cost memory for their weights and nothing else; on a GPU they are computed, too.

    Args:
        lanes: how many there are.
        device: where to train.
    """

    def __init__(self, lanes: int, *, device: torch.device | str = "cpu") -> None:
        self.lanes, self._device = lanes, device
        self._held: list[Fleet] = []
        self._places: dict[int, tuple[Fleet, int]] = {}

    @property
    def all(self) -> tuple[Fleet, ...]:
        """The fleets that some lane is in."""
        return tuple(self._held)

    def of(self, lane: int) -> tuple[Fleet, int]:
        """Returns the fleet that a lane is in, and its place there.

        Raises:
            ConfigError: the lane never began.
        """
        if lane not in self._places:
            raise ConfigError(f"lane {lane} was never reset: call reset() first")
        return self._places[lane]

    def groups(self, lanes: Iterable[int]) -> list[tuple[Fleet, dict[int, int]]]:
        """Returns the fleets of some lanes, each with place -> lane of those that are in it."""
        groups: list[tuple[Fleet, dict[int, int]]] = []
        for lane in lanes:
            fleet, place = self.of(lane)
            mine = next((members for other, members in groups if other is fleet), None)
            if mine is None:
                groups.append((fleet, {place: lane}))
            else:
                mine[place] = lane
        return groups

    def reset(self, starts: Mapping[int, tuple[int, Task]]) -> None:
        """Starts lanes afresh, where their tasks belong.

        Args:
            starts: lane -> its seed and its task.

        Raises:
            ConfigError: a task cannot be trained, such as one whose loss cannot weigh classes as its recipe wants;
                every lane is as it was then.
        """
        held, places = list(self._held), dict(self._places)
        for lane, (seed, task) in starts.items():
            places[lane] = self._room(lane, seed, task, held, places)
        left = [self._places[lane] for lane in starts if lane in self._places and self._places[lane] != places[lane]]
        self._places = places
        for lane, (seed, task) in starts.items():
            fleet, place = places[lane]
            fleet.reset(place, seed, task)
        self._held = [fleet for fleet in held if any(fleet is used for used, _ in places.values())]
        for fleet, place in left:
            staying = [own for used, own in places.values() if used is fleet]
            if staying:  # what a lane has left behind is not to hold its images
                fleet.lend(place, staying[0])

    def check(self, lane: int, task: Task, snapshot: Snapshot) -> None:
        """Raises CheckpointError unless a state can be put into a lane that has a task."""
        fleet, _ = self._room(lane, snapshot.seed, task, list(self._held), self._places)
        fleet.check(snapshot)

    def _room(
        self, lane: int, seed: int, task: Task, held: list[Fleet], places: Mapping[int, tuple[Fleet, int]]
    ) -> tuple[Fleet, int]:
        """Returns where a lane with a task belongs; a fleet that is made for it is added to `held`."""
        together = supports_lanes(task.recipe.detector)
        fits = [fleet for fleet in held if not difference(fleet.tasks[0], task)]
        if not together:
            fits = [fleet for fleet in fits if lane in places and places[lane][0] is fleet]
        if not fits:
            count = self.lanes if together else 1
            fits = [Fleet([task] * count, [seed] * count, device=self._device)]
            held.append(fits[0])
        return fits[0], lane if together else 0
