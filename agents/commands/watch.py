"""The command `mapopt watch`: one episode of an agent as a film, on an instance that no agent was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from gymnasium.spaces import Discrete, Space

from mapopt.agents.agent import Agent
from mapopt.agents.policy import PolicyController
from mapopt.commands.command import Command
from mapopt.devices import choose_device
from mapopt.drawing.episode import RenderedKnob, RenderScene, line, picture
from mapopt.drawing.video import check_video, write_video
from mapopt.envs.detector_training.lanes import DetectorTrainingLanes, Start
from mapopt.envs.detector_training.scene import scene_of
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET, EnvSettings
from mapopt.envs.families import InstanceFamily, make_family
from mapopt.envs.wrappers.schedules import RecordedSchedule
from mapopt.errors import ConfigError
from mapopt.settings import NOT_A_SETTING
from mapopt.training import Budget, Constant, Controller, Decision, KnobSpace, Round, Schedule, TaskInfo, ranges

Policy = Literal["agent", "baseline", "constant", "replay"]


@dataclass(frozen=True, kw_only=True)
class Watch(Command):
    """Play an episode of an agent, print a line per round, and write it as a film (GIF or MP4).

    `mapopt watch AGENT` takes the name of a shipped agent or the path of one that `mapopt train-agent` wrote. A picture
    shows tune AP and the knobs over the rounds beside a tune image with its objects and what is found.
    """

    positional: ClassVar[str] = "agent"

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt watch ppo-shapes --out agent.gif",
        "mapopt watch --policy baseline --family rescue --seed 3 --out baseline.gif",
    )

    agent: str = "ppo-shapes"
    """Name of a shipped agent, or path of one; of --policy agent."""
    policy: Policy = "agent"
    """Who decides: the agent, the baseline (warm-up and cosine), nobody (constant knobs), or a recorded schedule."""
    replay: Path | None = None
    """File that RecordSchedule wrote; of --policy replay. Its budget, family and instance are taken where none is
    given; the seed is --seed."""
    out: Path = Path("runs/watch.gif")
    """File of the film; it ends in .gif, or in .mp4 (which needs the extra 'video')."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the film."""
    family: str | None = None
    """Where the instance is from: shapes (by default), imbalanced, small-objects, noisy-labels, rescue or from-data."""
    data: Path | None = None
    """The data set; of --family from-data."""
    instance: int | None = None
    """Number of the instance, among those for judging agents; 0 by default."""
    images: int | None = None
    """The budget: how many images to train on in all; 12800 by default."""
    rounds: int | None = None
    """Into how many rounds the budget is cut; 20 by default."""
    knobs: tuple[str, ...] = ()
    """Knobs to show; by default those that the agent turns, or that the recording does."""
    fps: float = 4.0
    """Rounds a second."""
    size: int = 960
    """Width of the film in pixels, a multiple of 32; it is 16:9."""

    def kept(self) -> str:
        """Says what an interrupted episode leaves behind."""
        return "No film was written."

    def run(self) -> int:
        """Plays, prints and writes; returns 1 if the run diverged."""
        check_video(self.out, overwrite=self.overwrite)
        if not 0.5 <= self.fps <= 50:
            raise ConfigError(f"fps is {self.fps:g}: expected 0.5 to 50 rounds a second")
        if self.size % 32 or not 320 <= self.size <= 3840:
            raise ConfigError(f"size is {self.size}: expected a multiple of 32 from 320 to 3840")
        if (self.replay is not None) != (self.policy == "replay"):
            raise ConfigError(
                f"--policy is {self.policy}: --policy replay and --replay FILE belong together, give both"
            )
        recorded = None if self.replay is None else RecordedSchedule.load(self.replay)
        lanes = self._make_lanes(recorded)
        lanes.reset({0: self._start(recorded)})
        if recorded is not None:
            print(_differences(recorded, lanes), end="", flush=True)
        scenes, info = self._play(lanes)
        diverged = bool(info["diverged"])
        ending = "diverged: a loss or gradient was not finite; " if diverged else ""
        print(f"{ending}final tune AP {info['val_ap']:.4f}, test AP {info['test_ap']:.4f}", flush=True)
        write_video(self.out, [picture(one, width=self.size) for one in steady(scenes)], fps=self.fps)
        print(f"wrote {len(scenes)} pictures to {self.out}")
        return int(diverged)

    def _play(self, lanes: DetectorTrainingLanes) -> tuple[list[RenderScene], dict[str, Any]]:
        """Plays the episode; returns what there was to see before it and after each round, and its last info."""
        scenes = [scene_of(lanes, 0)]
        print(line(scenes[0]), flush=True)
        while True:
            outcome = lanes.step([0])[0]
            scenes.append(scene_of(lanes, 0))
            print(line(scenes[-1]), flush=True)
            if outcome.ended:
                return scenes, outcome.info

    def _make_lanes(self, recorded: RecordedSchedule | None) -> DetectorTrainingLanes:
        """Makes the environment's engine with the chosen decider in it."""
        device = str(choose_device(self.device))
        action, features = self._decider(recorded)
        if self.knobs:
            KnobSpace(self.knobs)
            action = replace(action, knobs=self.knobs)
        usual = DEFAULT_BUDGET if recorded is None else recorded.budget
        budget = Budget(
            images=usual.images if self.images is None else self.images,
            rounds=usual.rounds if self.rounds is None else self.rounds,
        )
        if recorded is not None and self.rounds is not None and self.rounds > len(recorded.decisions):
            raise ConfigError(
                f"rounds is {self.rounds}: expected {len(recorded.decisions)} at most, as many as {self.replay} holds"
            )
        family = self._family(recorded)
        chosen = None if features is None else tuple(features)
        settings = EnvSettings(family=family, budget=budget, action=action, features=chosen, device=device)
        return DetectorTrainingLanes(settings)

    def _start(self, recorded: RecordedSchedule | None) -> Start:
        """Returns how the episode begins; that of a recording which was cut short is cut where it was."""
        instance, cut = self.instance, None
        if recorded is not None:
            instance = recorded.instance if instance is None and self.family is None else instance
            cut = len(recorded.decisions)
        return Start(instance=instance or 0, seed=self.seed, cut=cut)

    def _decider(self, recorded: RecordedSchedule | None) -> tuple[_Decider, Sequence[str] | None]:
        """Returns who decides, and what has to be observed for it."""
        if self.policy == "agent":
            agent = Agent.load(self.agent)
            baseline = agent.form.baseline
            decider = _Decider(
                knobs=agent.knobs, baseline=baseline, follow=lambda usual: PolicyController(agent, usual)
            )
            return decider, agent.observation
        if recorded is not None:
            schedule, used = recorded.replay(), [one.knobs for one in recorded.decisions]
            turned = tuple(name for name in ranges() if len({getattr(knobs, name) for knobs in used}) > 1)
            decider = _Decider(knobs=turned or ("lr",), follow=lambda _: schedule)
            return decider, None
        follow: Callable[[Controller], Controller] = lambda usual: usual  # noqa: E731
        if self.policy == "constant":
            follow = lambda _: Constant()  # noqa: E731
        return _Decider(knobs=("lr",), follow=follow), None

    def _family(self, recorded: RecordedSchedule | None) -> InstanceFamily:
        if self.family is None and self.data is None and recorded is not None:
            return recorded.make_family()
        name = self.family or "shapes"
        if (self.data is not None) != (name == "from-data"):
            raise ConfigError(f"--family is {name}: --family from-data and --data PATH belong together, give both")
        settings: dict[str, Any] = {} if self.data is None else {"path": self.data}
        return make_family(name, split="eval", **settings)


@dataclass(frozen=True, kw_only=True)
class _Decider:
    """A form of action that leaves every decision to a controller, which is told the instance's baseline."""

    knobs: tuple[str, ...]
    follow: Callable[[Controller], Controller]
    """The baseline -> who decides."""
    baseline: Controller = field(default_factory=Schedule)
    action_names: tuple[str, ...] = ("go_on",)
    baseline_action: None = None

    def space_of_actions(self) -> Space[Any]:
        """Returns the space of the only action, which is to go on."""
        return Discrete(1)

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the controller's decision, whatever the action."""
        return self.follow(self.baseline).decide(history, task, budget)

    def over(self, baseline: Controller) -> _Decider:
        """Returns the same over another baseline."""
        return replace(self, baseline=baseline)


def _differences(recorded: RecordedSchedule, lanes: DetectorTrainingLanes) -> str:
    """Returns a line about what is played otherwise than it was recorded; nothing if all is the same."""
    start, budget = lanes.start_of(0), lanes.budget_of(0)
    pairs = (
        ("instance", recorded.description, str(lanes.instances[0])),
        ("seed", recorded.seed, start.seed),
        ("images", recorded.budget.images, budget.images),
        ("rounds", recorded.budget.rounds, budget.rounds),
    )
    told = [f"{name} {played} (recorded: {was})" for name, was, played in pairs if was != played]
    return f"replayed in another episode than was recorded: {'; '.join(told)}\n" if told else ""


def steady(scenes: Sequence[RenderScene]) -> list[RenderScene]:
    """Gives the scenes of an episode the same scales: what they need in all of it, and no more.

    Args:
        scenes: after no round, after one, and so on.

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


def _limits(knob: RenderedKnob) -> tuple[float, float]:
    """Returns what holds all of a knob's values with some room, at least a tenth of its range."""
    units = [knob.range.to_unit(value) for value in (*knob.values, *knob.baseline)]
    low, high = min(units, default=-1.0), max(units, default=1.0)
    room = max(0.1 * (high - low), 0.1 - (high - low) / 2)
    return knob.range.from_unit(low - room), knob.range.from_unit(high + room)
