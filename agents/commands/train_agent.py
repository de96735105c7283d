"""The command `mapopt train-agent`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rich.console import Console

from mapopt.agents.learning.training import AgentTraining, Progress, train_agent
from mapopt.commands.command import Command
from mapopt.devices import choose_device
from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, SCALE
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET
from mapopt.envs.families import InstanceFamily, NumberedFamily
from mapopt.envs.families.base import ranges_of
from mapopt.envs.families.flags import FamilyFlags
from mapopt.errors import ConfigError, StoreError
from mapopt.settings import NOT_A_SETTING
from mapopt.training import Budget, KnobSpace


@dataclass(frozen=True, kw_only=True)
class TrainAgent(Command):
    """Train an agent with PPO on detector training; it is stored as weights and JSON, and resumable.

    `--family rescue` trains it on that family of instances, `--family from-data --data PATH` on your own data. Writes
    NAME.safetensors and NAME.json (the agent), progress.json (an entry per iteration) and training.pt (the state to
    resume from). Cost is iterations x workers x lanes x images of the budget.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt train-agent --family rescue --out runs/rescue",
        "mapopt train-agent --knobs lr augment --iterations 40 --out runs/agent --resume",
    )

    out: Path = Path("runs/agent")
    """Folder for the agent."""
    name: str = "agent"
    """The agent's name."""
    family: FamilyFlags = field(default_factory=FamilyFlags)
    """The instances it is trained on."""
    data: Path | None = None
    """The data set; of --family from-data."""
    budget: Budget = DEFAULT_BUDGET
    """Images and rounds of an episode."""
    knobs: tuple[str, ...] = DEFAULT_KNOBS
    """The knobs it turns."""
    scale: float = SCALE
    """What an action of 1 means: this factor on a logarithmic knob."""
    features: tuple[str, ...] | None = None
    """What it is shown, module:attribute for features of your own; by default what the environment shows. See the page
    of DetectorTraining-v0."""
    reward: str = "gain"
    """What it is paid for: gain, final, log_gap, oLRP, f1, best_f1 or lrp, or module:attribute for your own."""
    cost_per_image: float = 0.0
    """What it pays for every image that it trains on."""
    iterations: int = 20
    """Episodes per lane; each is followed by one update of the policy."""
    workers: int = 0
    """Processes; 0 takes one per core, and one on a GPU."""
    lanes: int = 16
    """Episodes at once in each process."""
    learning_rate: float = 1e-3
    """Of the policy."""
    resume: bool = field(default=False, metadata=NOT_A_SETTING)
    """Go on with the training in OUT; iterations may be more than before."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Use a folder that is not empty and begin anew."""

    def kept(self) -> str:
        """Says what an interrupted training leaves behind."""
        return f"Finished iterations are kept in {self.out}; add --resume to go on."

    def run(self) -> None:
        """Trains."""
        family = self.family.make(self.data)
        settings = self._settings(family)
        KnobSpace(settings.knobs, ranges_of(family, settings.knobs))
        if isinstance(family, NumberedFamily):
            settings.budget.check(family.recipe.batch_size)
        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite were both given: choose one")
        if self.out.is_dir() and any(self.out.iterdir()):
            if self.overwrite:
                (self.out / "training.pt").unlink(missing_ok=True)
            elif not self.resume:
                raise StoreError(f"{self.out} is not empty: give --resume to go on, --overwrite, or another --out")
        console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
        names = ", ".join(settings.knobs)
        episodes = settings.workers * settings.lanes
        console.print(f"training an agent on {names}: {settings.iterations} iterations of {episodes} episodes")
        command = shlex.join(["mapopt", *sys.argv[1:]])
        train_agent(settings, self.out, command=command, report=lambda one: _print(console, one), name=self.name)
        console.print(f"wrote {self.out / self.name}.safetensors and {self.out / self.name}.json")

    def _settings(self, family: InstanceFamily) -> AgentTraining:
        device = str(choose_device(self.device))
        return AgentTraining(
            family=family,
            budget=self.budget,
            knobs=self.knobs,
            scale=self.scale,
            features=self.features,
            reward=self.reward,
            cost_per_image=self.cost_per_image,
            iterations=self.iterations,
            workers=self.workers or (1 if device.startswith("cuda") else max(1, len(os.sched_getaffinity(0)))),
            lanes=self.lanes,
            learning_rate=self.learning_rate,
            seed=self.seed,
            device=device,
        )


def _print(console: Console, one: Progress) -> None:
    actions = ", ".join(f"{value:+.2f}" for value in one.action_mean)
    console.print(
        f"iteration {one.iteration + 1}: {one.steps} steps, return {one.episode_return:.4f}, "
        f"test AP {one.test_ap:.4f}, diverged {one.diverged}, "
        f"mean action ({actions}), at bound {one.at_bound:.0%}, {one.seconds:.0f} s"
    )
