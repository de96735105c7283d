"""The command `mapopt train-agent`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mapopt.agents.learning.settings import AgentTraining
from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.envs.detector_training.actions import ACTIONS
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET
from mapopt.envs.families.flags import FamilyFlags
from mapopt.envs.families.registry import FAMILIES
from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_WHEN_EMPTY, NOT_A_SETTING
from mapopt.stopwatch import duration
from mapopt.training import Budget
from mapopt.waiting import Waiting

if TYPE_CHECKING:
    from mapopt.agents.agent import Agent
    from mapopt.agents.learning.progress import Progress


@dataclass(frozen=True, kw_only=True)
class TrainAgent(Command):
    """Train an agent on detector training; it is stored as weights and JSON, and resumable.

    `--algo` names the learner: ppo, a2c, recurrent_ppo, sac, td3, tqc or dqn.

    `--family rescue` trains it on that family of instances, `--family from-data --data PATH` on your own data. Writes
    NAME.safetensors and NAME.json (the agent), progress.json (an entry per iteration) and training.pt (the state to
    resume from). Cost is (iterations + 1) x workers x lanes x images of the budget. The last line is the command that
    compares the agent with the baseline.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt train-agent --family rescue --out runs/rescue",
        "mapopt train-agent --algo sac --hyperparameters batch_size 128 --out runs/sac",
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
    knobs: tuple[str, ...] | None = None
    """The knobs it sets; lr, augment, assign_iou and box_weight by default."""
    action: str | None = None
    """The form of its actions: relative, absolute, discrete, multi_discrete, or module:attribute for one of your
    own; by default relative, and discrete for dqn."""
    action_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What an action of your own is made with, where it differs from its defaults."""
    scale: float | None = None
    """What an action of 1 means: this factor on a logarithmic knob; 4 by default."""
    step_size: float | None = None
    """How far a discrete action moves; a quarter by default."""
    features: tuple[str, ...] | None = None
    """What it is shown; by default what the environment shows. See the page of DetectorTraining-v0; module:attribute
    is a feature of your own."""
    reward: str = "gain"
    """What it is paid for: gain, final, log_gap, oLRP, f1, best_f1, lrp, or module:attribute for a reward of your
    own."""
    reward_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What a reward of your own is made with, where it differs from its defaults."""
    cost_per_image: float = 0.0
    """What it pays for every image that it trains on."""
    algo: str = AgentTraining.algo
    """The learner: ppo, a2c, sac, td3 or dqn of stable-baselines3; recurrent_ppo or tqc of sb3-contrib."""
    hyperparameters: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Arguments of the learner's constructor, or of its policy's, that differ from docs/agents.md, as names with
    values: --hyperparameters gamma 0.99 batch_size 64. TD3's action_noise is a standard deviation."""
    hidden: tuple[int, ...] = AgentTraining.hidden
    """Width of every hidden layer of the policy."""
    iterations: int = AgentTraining.iterations
    """Episodes per lane, between which the policy is updated."""
    workers: int = AgentTraining.workers
    """Processes; 0 takes one per core, and one on a GPU."""
    lanes: int = AgentTraining.lanes
    """Episodes at once in each process."""
    learning_rate: float = AgentTraining.learning_rate
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
        check_device(self.device)
        settings = self._settings()
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from dataclasses import replace

        from mapopt.agents.learning.state import finished_iterations
        from mapopt.agents.learning.training import train_agent

        settings = replace(settings, family=self.family.make(self.data), device=str(choose_device(self.device)))
        names, episodes = ", ".join(settings.make_action().knobs), settings.processes * settings.lanes
        length = f"{settings.iterations} iterations of {episodes} episodes"
        print(f"training an agent with {settings.algo} on {names}: {length}", flush=True)
        finished = finished_iterations(self.out) if self.resume and not self.overwrite else 0
        with Waiting(
            "training",
            total=settings.iterations,
            done=min(finished, settings.iterations),
            unit="iterations",
            expected=self._expected(settings.iterations - finished, settings.lanes),
        ) as waiting:

            def report(progress: Progress) -> None:
                waiting.advance(progress.iteration + 1)
                left = waiting.remaining()
                print(f"{progress}, {left}" if left else progress, flush=True)

            agent = train_agent(
                settings,
                self.out,
                name=self.name,
                resume=self.resume,
                overwrite=self.overwrite,
                command=shlex.join(["mapopt", *sys.argv[1:]]),
                report=report,
            )
        cost = agent.training["cost"]
        print(f"{cost['images']:,} images in {duration(cost['seconds'])}, over all parts of the training")
        print(f"wrote {self.out / self.name}.safetensors and {self.out / self.name}.json")
        print(_compare(agent, self.out / f"{self.name}.json"))

    def _expected(self, iterations: int, lanes: int) -> float | None:
        """Returns about how many seconds some iterations take; every process plays its lanes at the same time."""
        from mapopt.training import expected_image_seconds

        if self.device.startswith("cuda") or iterations < 1:
            return None
        rate = expected_image_seconds("tiny", (48, 48))
        return None if rate is None else rate * iterations * lanes * self.budget.images

    def _action(self) -> Any:
        """Returns the form of action; None leaves it to the learner."""
        if self.action is not None:
            return ACTIONS.choice(self.action, self.action_settings)
        if self.action_settings:
            raise ConfigError("--action-settings was given without the --action that it is for: give both")
        return None

    def _settings(self) -> AgentTraining:
        """Returns the settings, as far as they are known before the family is made."""
        FAMILIES.check_name(self.family.name)
        return AgentTraining(
            budget=self.budget,
            knobs=self.knobs,
            action=self._action(),
            algo=self.algo,
            hyperparameters=dict(self.hyperparameters),
            hidden=self.hidden,
            scale=self.scale,
            step_size=self.step_size,
            features=self.features,
            reward=REWARDS.choice(self.reward, self.reward_settings),
            cost_per_image=self.cost_per_image,
            iterations=self.iterations,
            workers=self.workers,
            lanes=self.lanes,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )


def _compare(agent: Agent, path: Path) -> str:
    """Returns the command that compares an agent with the baseline."""
    command = ["mapopt", "compare", "--methods", "baseline", "--agent"]
    if agent.own.features or agent.own.action is not None:
        # A file never makes us import what it names, so whoever runs the agent brings its parts.
        print(f"its own parts have to be brought: ATTRIBUTE is load_agent('{path}', own=OwnParts(...))")
        return shlex.join([*command, "MODULE:ATTRIBUTE"])
    return shlex.join([*command, str(path)])
