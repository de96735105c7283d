"""The engine behind every face of the environment: a fleet whose lanes are episodes.

A round is `mapopt.training.run.advance`, the same function a comparison runs through; so an agent's episode and the
deployed policy's run are the same thing, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.envs.actions import RelativeAction
from mapopt.envs.families import Instance, InstanceFamily
from mapopt.envs.observations import observe
from mapopt.errors import ConfigError
from mapopt.training.controllers import Decision
from mapopt.training.fleet import Fleet
from mapopt.training.history import Round
from mapopt.training.run import advance
from mapopt.training.task import Budget


@dataclass(frozen=True)
class Outcome:
    """What one step of one lane gave."""

    observation: np.ndarray
    reward: float
    terminated: bool
    info: dict[str, Any]


class World:
    """Lanes of detector training, each an episode of its own.

    Args:
        family: where instances come from.
        budget: images and rounds of an episode.
        action: what an action does.
        lanes: episodes at once.
        device: where to train.
    """

    def __init__(
        self,
        family: InstanceFamily,
        budget: Budget,
        action: RelativeAction,
        *,
        lanes: int = 1,
        device: str = "cpu",
    ) -> None:
        if lanes < 1:
            raise ConfigError(f"{lanes} lanes: expected at least one")
        self.family, self.budget, self.action, self.lanes, self._device = family, budget, action, lanes, device
        self.histories: list[list[Round]] = [[] for _ in range(lanes)]
        self.instances: list[Instance | None] = [None] * lanes
        self._fleet: Fleet | None = None

    @property
    def fleet(self) -> Fleet:
        """The lanes; they exist from the first reset on."""
        if self._fleet is None:
            raise ConfigError("the environment was stepped before its first reset: call reset() first")
        return self._fleet

    def reset(self, seeds: dict[int, tuple[int, int]]) -> dict[int, tuple[np.ndarray, dict[str, Any]]]:
        """Begins new episodes.

        Args:
            seeds: lane -> (number of the instance, seed of the training).

        Returns:
            lane -> (first observation, info).
        """
        for lane, (number, _) in seeds.items():
            self.instances[lane] = self.family.instance(number)
            self.histories[lane] = []
        if self._fleet is None:
            tasks = [self.family.instance(seeds.get(lane, (0, 0))[0]).task for lane in range(self.lanes)]
            self.budget.check(tasks[0].recipe.batch_size)
            self._fleet = Fleet(tasks, [seeds.get(lane, (0, 0))[1] for lane in range(self.lanes)], device=self._device)
        else:
            for lane, (number, seed) in seeds.items():
                self._fleet.reset(lane, seed, self.family.instance(number).task)
        return {
            lane: (self.observe(lane), {"instance": number, "seed": seed, "description": str(self.instances[lane])})
            for lane, (number, seed) in seeds.items()
        }

    def step(self, actions: np.ndarray, *, active: Sequence[bool] | None = None) -> list[Outcome]:
        """Plays one round on every active lane.

        Args:
            actions: float ``[lanes, knobs]`` in [-1, 1].
            active: lanes to play; the outcomes of the others mean nothing.
        """
        fleet = self.fleet
        playing = list(active) if active is not None else [True] * self.lanes
        decisions = [
            self.action.decide(actions[lane], self.histories[lane], fleet.tasks[lane].info, self.budget)
            if playing[lane]
            else Decision(knobs=fleet.knobs[lane])
            for lane in range(self.lanes)
        ]
        rounds = advance(fleet, decisions, self.histories, self.budget.interval, active=playing)
        for lane in range(self.lanes):
            if playing[lane]:
                self.histories[lane].append(rounds[lane])
        ended = [playing[lane] and self._ended(lane) for lane in range(self.lanes)]
        tested = [report.ap for report in fleet.evaluate("test", mode="reward")] if any(ended) else [0.0] * self.lanes
        return [self._outcome(lane, ended[lane], float(tested[lane])) for lane in range(self.lanes)]

    def _ended(self, lane: int) -> bool:
        history = self.histories[lane]
        return len(history) >= self.budget.rounds or history[-1].interval.diverged

    def _outcome(self, lane: int, ended: bool, test_ap: float) -> Outcome:
        history = self.histories[lane]
        if not history:
            return Outcome(self.observe(lane), 0.0, False, {})
        now = history[-1]
        # The gains of an episode add up to its final AP; a diverged run is worth nothing, whatever it had before.
        reward = now.tune.ap - (history[-2].tune.ap if len(history) > 1 else 0.0)
        info: dict[str, Any] = {
            "tune_ap": now.tune.ap,
            "tune_ap50": now.tune.ap50,
            "knobs": now.knobs.as_dict(),
            "images": now.images,
            "diverged": now.interval.diverged,
        }
        if ended:
            info["test_ap"] = 0.0 if now.interval.diverged else test_ap
        return Outcome(self.observe(lane), float(reward), ended, info)

    def observe(self, lane: int) -> np.ndarray:
        """Returns what an agent sees of a lane now."""
        instance = self.instances[lane]
        if instance is None:
            raise ConfigError(f"lane {lane} was never reset: call reset() first")
        return observe(self.histories[lane], instance.task.info, self.budget, self.action.space)
