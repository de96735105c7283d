"""The engine behind every form of the environment: lanes that are episodes, in a fleet for every recipe among them.

A round is `mapopt.training.loop.advance`, the same function a comparison runs through; so an agent's episode and the
deployed policy's run are the same thing, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from mapopt.devices import choose_device
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.infos import end_info, round_info
from mapopt.envs.detector_training.observations import (
    DEFAULT_FEATURES,
    find_features,
    knobs_of,
    needed_measures,
    observe,
)
from mapopt.envs.detector_training.references import References
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.detector_training.states import EpisodeState, Outcome, Start, check_state, fingerprint
from mapopt.envs.families.base import Instance, ranges_of
from mapopt.envs.families.registry import FAMILIES
from mapopt.errors import CheckpointError, ConfigError
from mapopt.metrics import Report
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Decision, check_knobs
from mapopt.training.controllers.moves import moved_by
from mapopt.training.fleet import Fleet
from mapopt.training.fleets import Fleets
from mapopt.training.history import Round
from mapopt.training.knob_space import KnobSpace
from mapopt.training.loop import advance, check_decision


class DetectorTrainingLanes:
    """Lanes of detector training, each an episode of its own.

    Args:
        settings: where instances come from, what an action does, what is paid and what is observed.
        num_lanes: episodes at once.

    Raises:
        ConfigError: there would be no lane, or a setting is unknown, out of its range, or contradicts another.
        DataError: the family's data cannot be used.
    """

    def __init__(self, settings: EnvSettings | None = None, *, num_lanes: int = 1) -> None:
        if num_lanes < 1:
            raise ConfigError(f"{num_lanes} lanes: expected at least one")
        self.settings = settings or EnvSettings()
        self.budget, self.num_lanes = self.settings.budget, num_lanes
        self.action, self.reward = self.settings.make_action(), self.settings.make_reward()
        self.family, self.device = self.settings.make_family(), choose_device(self.settings.device)
        chosen = self.settings.features
        chosen = (*self.reward.features, *DEFAULT_FEATURES) if chosen is None else chosen
        baseline = self.action.baseline
        known = ranges_of(self.family, (*self.action.knobs, *knobs_of(chosen), *moved_by(baseline)))
        KnobSpace(self.action.knobs, known)
        check_knobs(baseline, known)
        family: Any = self.family
        if type(family) in FAMILIES.values():
            # Ours say what recipes their instances have; those of somebody's own are checked instance by instance.
            family.check_budget(self.budget)
        self.features = find_features(chosen, self.action.knobs, known)
        self.measures = tuple(sorted({*self.reward.measures, *needed_measures(self.features)}))
        if self.settings.held_out >= self.family.count:
            raise ConfigError(
                f"held_out is {self.settings.held_out}, and the family has {self.family.count} instances: leave some"
            )
        following = self.settings.make_reference()
        self.references: References | None = None
        if following is not None:
            make = partial(DetectorTrainingLanes, self.settings.of_references(following), num_lanes=num_lanes)
            self.references = References(make, measures=following.measures)
        self.tested = True
        """Whether the test split is read at the end of an episode."""
        self.histories: list[list[Round]] = [[] for _ in range(num_lanes)]
        self.instances: list[Instance | None] = [None] * num_lanes
        self.over = [True] * num_lanes
        self._starts: list[Start | None] = [None] * num_lanes
        self.fleets = Fleets(num_lanes, device=self.device)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every entry of an observation."""
        return tuple(feature.name for feature in self.features)

    def fleet_of(self, lane: int) -> tuple[Fleet, int]:
        """Returns the fleet that a lane is in, and its place there; with one recipe for all that is the lane's number.

        Raises:
            ConfigError: the lane was never reset.
        """
        return self.fleets.of(lane)

    def reset(self, starts: Mapping[int, Start]) -> dict[int, tuple[np.ndarray, dict[str, Any]]]:
        """Begins new episodes.

        Args:
            starts: lane -> how its episode begins.

        Returns:
            lane -> (first observation, info).

        Raises:
            ConfigError: there is no such instance, or its recipe has not the knobs that actions set, or its rounds are
                no whole number of steps. Nothing has begun then.
            DataError: an instance cannot be made, such as one whose val split has no object.
        """
        instances = self._drawn(starts)
        self.fleets.reset({lane: (starts[lane].seed, instance.task) for lane, instance in instances.items()})
        for lane, instance in instances.items():
            self.instances[lane], self._starts[lane] = instance, starts[lane]
            self.histories[lane], self.over[lane] = [], False
        return {
            lane: (
                self.observe(lane),
                {"instance": start.instance, "seed": start.seed, "description": str(instances[lane])},
            )
            for lane, start in starts.items()
        }

    def step(self, actions: Sequence[Any] | np.ndarray, *, active: Sequence[bool] | None = None) -> dict[int, Outcome]:
        """Plays one round on every active lane.

        Args:
            actions: one per lane.
            active: lanes to play.

        Returns:
            lane -> what its round gave.

        Raises:
            ConfigError: an action is not one of the action space's, or stops a run before its first round.
            gymnasium.error.ResetNeeded: an active lane's episode is over, or never began.
        """
        playing = [lane for lane in range(self.num_lanes) if active is None or active[lane]]
        due = [lane for lane in playing if self.over[lane]]
        if due:
            where = f" (lanes {due})" if self.num_lanes > 1 else ""
            raise gymnasium.error.ResetNeeded(f"the episode is over, or never began{where}: call reset() before step()")
        decisions = {lane: self._decide(lane, actions[lane]) for lane in playing}
        stopped = {lane: decision.stop for lane, decision in decisions.items() if decision.stop}
        played = self._advance({lane: decisions[lane] for lane in playing if lane not in stopped})
        for lane, last in played.items():
            self.histories[lane].append(last)
        ends = {lane: (True, False) if lane in stopped else self._end(lane) for lane in playing}
        ended = [lane for lane in playing if any(ends[lane])]
        for lane in ended:
            self.over[lane] = True
        reports = self._test(ended)
        if self.references is not None:
            self.references.play(self.references.missing(map(self.start_of, playing)))
        return {
            lane: self._outcome(lane, *ends[lane], reports.get(lane), stopped=stopped.get(lane, "")) for lane in playing
        }

    def observe(self, lane: int) -> np.ndarray:
        """Returns what an agent sees of a lane now."""
        return observe(self.histories[lane], self.instance_of(lane).task.info, self.budget_of(lane), self.features)

    def begun(self, lane: int) -> bool:
        """Returns whether a lane was ever reset."""
        return self.instances[lane] is not None

    def budget_of(self, lane: int) -> Budget:
        """Returns the budget of a lane's episode."""
        return self.instance_of(lane).budget or self.budget

    def instance_of(self, lane: int) -> Instance:
        """Returns the instance of a lane's episode.

        Raises:
            ConfigError: the lane was never reset.
        """
        instance = self.instances[lane]
        if instance is None:
            raise ConfigError(f"lane {lane} was never reset: call reset() first")
        return instance

    def action_of(self, lane: int) -> Action:
        """Returns what an action does in a lane's episode."""
        baseline = self.instance_of(lane).baseline
        return self.action if baseline is None else self.action.over(baseline)

    def start_of(self, lane: int) -> Start:
        """Returns how a lane's episode began, also where it was put there as a copy."""
        start = self._starts[lane]
        if start is None:
            raise ConfigError(f"lane {lane} was never reset: call reset() first")
        return start

    def cut(self, lane: int, rounds: int) -> None:
        """Lets a lane's episode be truncated some rounds before its end."""
        self._starts[lane] = replace(self.start_of(lane), cut=self.budget_of(lane).rounds - rounds)

    def get_state(self, lane: int) -> EpisodeState:
        """Copies a lane's episode."""
        fleet, place = self.fleet_of(lane)
        return EpisodeState(
            start=self.start_of(lane),
            history=tuple(self.histories[lane]),
            snapshot=fleet.snapshot(place),
            over=self.over[lane],
            fingerprint=fingerprint(self.instance_of(lane)),
            budget=self.budget_of(lane),
            measures=self.measures,
        )

    def set_state(self, lane: int, state: EpisodeState) -> np.ndarray:
        """Puts a copied episode into a lane, its own or another, of this or an equal environment.

        Returns:
            what an agent sees there.

        Raises:
            CheckpointError: the state is of another instance, budget or detector; the lane stays as it was, as it does
                on what `reset` raises.
        """
        if not isinstance(state, EpisodeState):
            raise CheckpointError(f"a state is of type {type(state).__name__}: expected what get_state() returns")
        instance = check_state(state, self.family, self.budget, self.measures)
        self.fleets.check(lane, instance.task, state.snapshot)
        self.reset({lane: state.start})
        fleet, place = self.fleet_of(lane)
        fleet.restore(place, state.snapshot)
        self.histories[lane], self.over[lane] = list(state.history), state.over
        return self.observe(lane)

    def _drawn(self, starts: Mapping[int, Start]) -> dict[int, Instance]:
        """Returns the instances of episodes, by lane, if they can be played here."""
        instances = {}
        for lane, start in starts.items():
            instance = self.family.instance(start.instance)
            budget = instance.budget or self.budget
            budget.check(instance.task.recipe.batch_size)
            KnobSpace(self.action.knobs, instance.task.ranges)
            instances[lane] = replace(instance, task=instance.task_for(budget))
        return instances

    def _decide(self, lane: int, action: Any) -> Decision:
        task, history = self.instance_of(lane).task.info, self.histories[lane]
        decision = self.action_of(lane).decide(action, history, task, self.budget_of(lane))
        check_decision(decision, history)
        return decision

    def _advance(self, decisions: Mapping[int, Decision]) -> dict[int, Round]:
        """Plays the round of every decided lane; lanes of other recipes or intervals are played in turn."""
        played: dict[int, Round] = {}
        for fleet, members in self.fleets.groups(decisions):
            everyone = [Decision(knobs=knobs) for knobs in fleet.knobs]
            histories: list[list[Round]] = [[] for _ in everyone]
            for place, lane in members.items():
                everyone[place], histories[place] = decisions[lane], self.histories[lane]
            for images in sorted({self._interval(lane) for lane in members.values()}):
                active = [place in members and self._interval(members[place]) == images for place in range(fleet.lanes)]
                rounds = advance(fleet, everyone, histories, images, active=active, measures=self.measures)
                played |= {lane: rounds[place] for place, lane in members.items() if active[place]}
        return played

    def _interval(self, lane: int) -> int:
        return self.budget_of(lane).interval

    def _end(self, lane: int) -> tuple[bool, bool]:
        """Returns whether a lane's episode is terminated, and whether it is truncated."""
        history, start = self.histories[lane], self._starts[lane]
        if len(history) >= self.budget_of(lane).rounds or history[-1].interval.diverged:
            return True, False
        limit = self.settings.seconds_limit
        late = limit is not None and history[-1].seconds >= limit
        cut = start is not None and start.cut is not None and len(history) >= start.cut
        return False, late or cut

    def _test(self, lanes: Sequence[int]) -> dict[int, Report]:
        """Reads the test split of lanes that have ended and not diverged."""
        sound = [lane for lane in lanes if self.tested and not self.histories[lane][-1].interval.diverged]
        reports: dict[int, Report] = {}
        for fleet, members in self.fleets.groups(sound):
            reports |= zip(members.values(), fleet.evaluate("test", mode="reward", lanes=list(members)), strict=True)
        return reports

    def _outcome(self, lane: int, terminated: bool, truncated: bool, report: Report | None, *, stopped: str) -> Outcome:
        history, budget = self.histories[lane], self.budget_of(lane)
        if stopped:
            # Paid as a last round in which nothing was trained: no gain, no cost, and what is paid at the end.
            still = (*history, history[-1])
            parts = self.reward.parts(still, Budget(images=len(still) * budget.interval, rounds=len(still)))
        else:
            parts = self.reward.parts(history, budget)
        if self.references is not None:
            index = len(history) - (0 if stopped else 1)
            parts = replace(parts, reference=self.references.taken(self.start_of(lane), index, ended=terminated))
        info = round_info(history[-1], parts)
        if stopped:
            info["stopped"] = stopped
        if terminated or truncated:
            info |= end_info(history[-1], report)
        return Outcome(
            observation=self.observe(lane),
            reward=float(parts.total),
            terminated=terminated,
            truncated=truncated,
            info=info,
        )
