"""Plays an episode under any controller, as an environment's agent would, and keeps what there was to see of it.

The episode is the environment's own: the controller stands where an agent's action would be taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gymnasium.spaces import Discrete, Space

from mapopt.agents.policy import OpenLoopController, PolicyController, form_of
from mapopt.drawing import RenderedKnob, RenderScene
from mapopt.envs.detector_training.lanes import DetectorTrainingLanes
from mapopt.envs.detector_training.scene import scene_of
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.detector_training.states import Start
from mapopt.training import Budget, Controller, Decision, Round, Schedule, TaskInfo
from mapopt.training.controllers.base import measures_of

DEFAULT_KNOBS = ("lr",)
"""What is shown of an episode unless its controller or a caller says more."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """An episode from before its first round to its end."""

    scenes: tuple[RenderScene, ...]
    """What there was to see before the first round and after every one, all at the same scales."""
    info: dict[str, Any]
    """Of the last round: `val_ap`, `test_ap`, `diverged` and what else an environment says."""


def play(
    controller: Controller | None,
    settings: EnvSettings | None = None,
    *,
    start: Start | None = None,
    knobs: Sequence[str] = (),
    begin: Callable[[DetectorTrainingLanes], None] | None = None,
    report: Callable[[RenderScene], None] | None = None,
) -> Played:
    """Plays one episode, and prints nothing.

    Args:
        controller: what decides; None is the baseline: that of the instance, or a warm-up and cosine. What an agent's
            actions are relative to is the instance's baseline, too, where it brings one.
        settings: of the environment: its family and its budget, and where to train.
        start: which instance, and the training's seed; by default the first, and 0.
        knobs: names of the knobs to show; by default those that an agent sets, else the learning rate.
        begin: called with the lanes once the episode has begun.
        report: called with what there is to see, before the first round and after every one.

    Raises:
        ConfigError: a setting is unknown or out of its range, or there is no such instance.
        DataError: the family's data cannot be used.
    """
    shown = tuple(knobs) or _knobs_of(controller)
    follower = _Follower(knobs=shown, controller=controller, baseline=_baseline_of(controller))
    lanes = DetectorTrainingLanes(EnvSettings.of(settings, action=follower, knobs=None, scale=None, step_size=None))
    if controller is not None:
        lanes.measures = tuple(sorted({*lanes.measures, *measures_of(controller)}))
    lanes.reset({0: start or Start(instance=0, seed=0)})
    if begin is not None:
        begin(lanes)
    scenes, info = [_seen(lanes, report)], dict[str, Any]()
    while not lanes.over[0]:
        info = lanes.step([0])[0].info
        scenes.append(_seen(lanes, report))
    return Played(scenes=tuple(steady(scenes)), info=info)


def steady(scenes: Sequence[RenderScene]) -> list[RenderScene]:
    """Gives the scenes of an episode the same scales: what they need in all of it, and no more.

    Args:
        scenes: before the first round, after the first one, and so on.

    Returns:
        the scenes with limits; and with the baseline's knobs of the whole episode, as they are known at its end.
    """
    last = scenes[-1]
    top = min(1.0, max(0.05, math.ceil(max((0.0, *last.ap)) * 20 + 0.2) / 20))
    limits = {knob.name: _limits(knob) for knob in last.knobs}
    baselines = {knob.name: knob.baseline for knob in last.knobs}
    return [
        replace(
            scene,
            ap_limit=top,
            knobs=tuple(replace(knob, limits=limits[knob.name], baseline=baselines[knob.name]) for knob in scene.knobs),
        )
        for scene in scenes
    ]


@dataclass(frozen=True, kw_only=True)
class _Follower:
    """A form of action that leaves every decision to a controller."""

    knobs: tuple[str, ...]
    controller: Controller | None
    """What decides; None is the baseline."""
    baseline: Controller
    action_names: tuple[str, ...] = ("go_on",)
    baseline_action: None = None

    def space_of_actions(self) -> Space[Any]:
        """Returns the space of the only action, which is to go on."""
        return Discrete(1)

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the controller's decision, whatever the action."""
        controller = self.baseline if self.controller is None else self.controller
        return controller.decide(history, task, budget)

    def over(self, baseline: Controller) -> _Follower:
        """Returns the same with what decides relative to another baseline, where it is relative to one."""
        controller = self.controller
        if isinstance(controller, PolicyController | OpenLoopController):
            controller = replace(controller, baseline=baseline)
        return replace(self, baseline=baseline, controller=controller)


def _seen(lanes: DetectorTrainingLanes, report: Callable[[RenderScene], None] | None) -> RenderScene:
    """Returns what there is to see now, and reports it."""
    scene = scene_of(lanes, 0)
    if report is not None:
        report(scene)
    return scene


def _knobs_of(controller: Controller | None) -> tuple[str, ...]:
    """Returns the knobs that a controller is known to set."""
    if isinstance(controller, PolicyController | OpenLoopController):
        return controller.agent.form.knobs
    return DEFAULT_KNOBS


def _baseline_of(controller: Controller | None) -> Controller:
    """Returns what a controller is compared with, where the instance brings nothing of its own."""
    if isinstance(controller, PolicyController | OpenLoopController):
        return form_of(controller.agent, controller.baseline).baseline
    return Schedule()


def _limits(knob: RenderedKnob) -> tuple[float, float]:
    """Returns what holds all of a knob's values with some room, at least a tenth of its range."""
    units = [knob.range.to_unit(value) for value in (*knob.values, *knob.baseline)]
    low, high = min(units, default=-1.0), max(units, default=1.0)
    room = max(0.1 * (high - low), 0.1 - (high - low) / 2)
    return knob.range.from_unit(low - room), knob.range.from_unit(high + room)
