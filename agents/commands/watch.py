"""The command `mapopt watch`: one episode under any controller as a video, on an instance that no agent trained on."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.drawing.video import check_video, write_video
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET, EnvSettings
from mapopt.envs.families.registry import FAMILIES
from mapopt.errors import ConfigError
from mapopt.fields import NOT_A_SETTING
from mapopt.locks import lock_file
from mapopt.passes import steps
from mapopt.registry import Choice
from mapopt.training import CONTROLLERS, Budget, Controller, expected_run_seconds
from mapopt.waiting import Waiting

if TYPE_CHECKING:
    from mapopt.drawing import RenderScene
    from mapopt.envs.detector_training.lanes import DetectorTrainingLanes
    from mapopt.envs.wrappers import RecordedSchedule

_DATA_FAMILY = "from-data"


@dataclass(frozen=True, kw_only=True)
class Watch(Command):
    """Play an episode of an agent, print a line per round, and write it as a video (GIF or MP4).

    `mapopt watch AGENT` takes the name of a shipped agent or the path of one that `mapopt train-agent` wrote. A picture
    shows val AP and the knobs over the rounds beside a val image with its objects and its detections. `--policy` plays
    something else instead: the baseline, a recorded schedule, or any controller.
    """

    positional: ClassVar[str] = "agent"

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt watch ppo-shapes --out agent.gif",
        "mapopt watch --policy baseline --family rescue --seed 3 --out baseline.gif",
    )

    agent: str = "ppo-shapes"
    """Name of a shipped agent, the path of one, the zip of a model of stable-baselines3 (loading it executes code), or
    module:attribute; of --policy agent."""
    policy: str = "agent"
    """What decides: agent, baseline (warm-up and cosine, or the instance's own), replay (a recorded schedule), or any
    controller: constant, schedule, plateau, or module:attribute for one of your own."""
    policy_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Settings of the controller that differ from its defaults."""
    replay: Path | None = None
    """File that RecordSchedule wrote; of --policy replay. Its budget, family and instance are taken where none is
    given; the seed is --seed."""
    out: Path = Path("runs/watch.gif")
    """File of the video; it ends in .gif, or in .mp4 (which needs the extra 'video')."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the video."""
    family: str | None = None
    """Where the instance is from: shapes (by default), imbalanced, small-objects, noisy-labels, rescue, from-data, or
    module:attribute for one of your own."""
    data: Path | None = None
    """The data set; of --family from-data."""
    instance: int | None = None
    """Number of the instance, among those for evaluating agents; 0 by default."""
    images: int | None = None
    """The budget: how many images to train on in all; 12800 by default."""
    rounds: int | None = None
    """Into how many rounds the budget is cut; 20 by default."""
    knobs: tuple[str, ...] = ()
    """Knobs to show; by default those that the agent sets, or that the recording does."""
    fps: float = 4.0
    """Rounds a second."""
    size: int = 960
    """Width of the video in pixels, a multiple of 32; it is 16:9."""

    def kept(self) -> str:
        """Says what an interrupted episode leaves behind."""
        return "No video was written."

    def run(self) -> int:
        """Plays, prints and writes; returns 1 if the run diverged."""
        self._check()
        with lock_file(self.out):
            return self._play()

    def _play(self) -> int:
        """Does so while nobody else writes this video."""
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.agents.playing import play
        from mapopt.drawing import describe_scene, draw_scene
        from mapopt.envs.detector_training.states import Start
        from mapopt.envs.wrappers import RecordedSchedule

        recorded = None if self.replay is None else RecordedSchedule.load(self.replay)
        settings, controller = self._environment(recorded), self._controller(recorded)
        instance, cut = self.instance, None
        if recorded is not None:
            instance = recorded.instance if instance is None and self.family is None else instance
            cut = len(recorded.decisions)  # A recording that was cut short is cut where it was.

        with ExitStack() as stack:
            work: list[Waiting] = []

            def begin(lanes: DetectorTrainingLanes) -> None:
                if recorded is not None:
                    print(_differences(recorded, lanes), end="", flush=True)
                work.append(stack.enter_context(_watched(lanes)))

            def report(scene: RenderScene) -> None:
                work[0].advance(len(scene.ap))
                print("  ".join(filter(None, [describe_scene(scene), work[0].remaining()])), flush=True)

            played = play(
                controller,
                settings,
                start=Start(instance=instance or 0, seed=self.seed, cut=cut),
                knobs=self.knobs or _recorded_knobs(recorded),
                begin=begin,
                report=report,
            )
        diverged = bool(played.info["diverged"])
        ending = "diverged: a loss or gradient was not finite; " if diverged else ""
        print(f"{ending}final val AP {played.info['val_ap']:.4f}, test AP {played.info['test_ap']:.4f}", flush=True)
        pictures = []
        with steps("drawing", len(played.scenes), "pictures") as drawing:
            for scene in played.scenes:
                pictures.append(draw_scene(scene, width=self.size))
                drawing.advance(len(pictures))
        write_video(self.out, pictures, fps=self.fps)
        print(f"wrote {len(played.scenes)} pictures to {self.out}")
        return int(diverged)

    def _check(self) -> None:
        """Finds what is wrong with the flags before anything slow is imported."""
        check_video(self.out, overwrite=self.overwrite)
        check_device(self.device)
        if not 0.5 <= self.fps <= 50:
            raise ConfigError(f"fps is {self.fps:g}: expected 0.5 to 50 rounds a second")
        if self.size % 32 or not 320 <= self.size <= 3840:
            raise ConfigError(f"size is {self.size}: expected a multiple of 32 from 320 to 3840")
        if (self.replay is not None) != (self.policy == "replay"):
            raise ConfigError(
                f"--policy is {self.policy}: --policy replay and --replay FILE belong together, give both"
            )
        if self.policy not in ("agent", "baseline", "replay"):
            CONTROLLERS.check_name(self.policy)
        elif self.policy_settings:
            raise ConfigError(f"--policy-settings is given, but --policy {self.policy} has none: leave it out")
        if self.policy == "agent" and ":" not in self.agent and not self.agent.endswith(".zip"):
            from mapopt.agents.zoo import find_agent

            find_agent(self.agent)
        family = self.family or "shapes"
        FAMILIES.check_name(family)
        if (self.data is not None) != (family == _DATA_FAMILY):
            raise ConfigError(
                f"--family is {family}: --family {_DATA_FAMILY} and --data PATH belong together, give both"
            )
        if self.replay is None:
            self._budget(DEFAULT_BUDGET)

    def _environment(self, recorded: RecordedSchedule | None) -> EnvSettings:
        """Returns what the episode is played in."""
        if recorded is not None and self.rounds is not None and self.rounds > len(recorded.decisions):
            raise ConfigError(
                f"rounds is {self.rounds}: expected {len(recorded.decisions)} at most, as many as {self.replay} holds"
            )
        family: Any
        if self.family is None and self.data is None and recorded is not None:
            family = recorded.make_family()
        else:
            family = Choice(name=self.family or "shapes", settings=family_settings(self.data))
        budget = self._budget(DEFAULT_BUDGET if recorded is None else recorded.budget)
        return EnvSettings(family=family, budget=budget, device=str(choose_device(self.device)))

    def _budget(self, default: Budget) -> Budget:
        return Budget(
            images=default.images if self.images is None else self.images,
            rounds=default.rounds if self.rounds is None else self.rounds,
        )

    def _controller(self, recorded: RecordedSchedule | None) -> Controller | None:
        """Returns what decides; None is the baseline."""
        if self.policy == "baseline":
            return None
        if recorded is not None:
            return recorded.replay()
        if self.policy == "agent":
            from mapopt.agents.registry import load_agent

            return load_agent(self.agent)
        from mapopt.training import make_controller

        return make_controller(self.policy, self.policy_settings)


def _watched(lanes: DetectorTrainingLanes) -> Waiting:
    """Returns what says how long an episode takes, on the standard error, and how much of it is left."""
    task, budget = lanes.instance_of(0).task, lanes.budget_of(0)
    expected = expected_run_seconds(
        task.recipe.detector, task.splits.train.size, images=budget.images, device=lanes.device
    )
    return Waiting("playing", total=budget.rounds, expected=expected, stream=sys.stderr)


def family_settings(data: Path | None) -> dict[str, Any]:
    """Returns the settings of a family whose instances no agent was trained on."""
    return {"split": "eval"} if data is None else {"split": "eval", "path": data}


def _recorded_knobs(recorded: RecordedSchedule | None) -> tuple[str, ...]:
    """Returns the knobs that a recording changes, as far as it says any."""
    if recorded is None:
        return ()
    settings = [decision.knobs.as_dict() for decision in recorded.decisions]
    return tuple(name for name in settings[0] if len({values[name] for values in settings}) > 1)


def _differences(recorded: RecordedSchedule, lanes: DetectorTrainingLanes) -> str:
    """Returns a line about what is played otherwise than it was recorded; nothing if all is the same."""
    start, budget = lanes.start_of(0), lanes.budget_of(0)
    pairs = (
        ("instance", recorded.description, str(lanes.instances[0])),
        ("seed", recorded.seed, start.seed),
        ("images", recorded.budget.images, budget.images),
        ("rounds", recorded.budget.rounds, budget.rounds),
    )
    changes = [f"{name} {played} (recorded: {before})" for name, before, played in pairs if before != played]
    return f"replayed in another episode than was recorded: {'; '.join(changes)}\n" if changes else ""
