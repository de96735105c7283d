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
from mapopt.envs.detector_training.following import BASELINE, NONE
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.detector_training.settings import DEFAULT_BUDGET, SCHEDULE
from mapopt.envs.families.flags import FamilyFlags
from mapopt.envs.families.registry import FAMILIES
from mapopt.errors import ConfigError
from mapopt.fields import LEFT_OUT_WHEN_EMPTY, NOT_A_SETTING
from mapopt.stopwatch import duration
from mapopt.training import Budget
from mapopt.training.controllers.registry import CONTROLLERS
from mapopt.waiting import Waiting

if TYPE_CHECKING:
    from mapopt.agents.agent import Agent
    from mapopt.agents.learning.progress import Progress


@dataclass(frozen=True, kw_only=True)
class TrainAgent(Command):
    """Train an agent on detector training; it is stored as weights and JSON, and resumable.

    `--algo` names the learner: ppo, a2c, recurrent_ppo, sac, td3, tqc, dqn, cma_es or es.

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
    """The form of its actions: relative, moving, absolute, discrete, multi_discrete, or module:attribute for one of
    your own; by default relative, and discrete for dqn."""
    action_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What an action of your own is made with, where it differs from its defaults."""
    scale: float | None = None
    """What an action of 1 means: this factor on a logarithmic knob; 4 by default."""
    step_size: float | None = None
    """How far a discrete action moves; a quarter by default."""
    features: tuple[str, ...] | None = None
    """What it is shown; by default what the environment shows. default, context, losses and steps stand for groups, see
    the page of DetectorTraining-v0; module:attribute is a feature of your own."""
    reward: str = "gain"
    """What it is paid for: gain, final, log_gap, oLRP, f1, best_f1, lrp, or module:attribute for a reward of your
    own."""
    reward_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What a reward of your own is made with, where it differs from its defaults."""
    cost_per_image: float = 0.0
    """What it pays for every image that it trains on."""
    algo: str = AgentTraining.algo
    """The learner: ppo, a2c, sac, td3 or dqn of stable-baselines3; recurrent_ppo or tqc of sb3-contrib; cma_es or es of
    our own, whose candidates play the same episodes."""
    hyperparameters: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Arguments of the learner's constructor, or of its policy's, that differ from docs/agents.md, as names with
    values: --hyperparameters gamma 0.99 batch_size 64. TD3's action_noise is a standard deviation."""
    hidden: tuple[int, ...] | None = None
    """Width of every hidden layer of the policy; by default two of 32, and none for cma_es and es."""
    baseline: str = SCHEDULE
    """What its actions are relative to, and what decides all other knobs, where the family brings nothing of its own:
    schedule, constant, one_cycle, plateau, greedy_lr, hypergradient or autopilot."""
    baseline_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What that controller is made with, where it differs from its defaults."""
    reference: str | None = None
    """What rewards are relative to: baseline, the run of the same instance and training seed without an agent; none; or
    the name of a controller, or module:attribute for one of your own. By default baseline, and none for cma_es and
    es."""
    reference_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What a controller is made with, where it differs from its defaults."""
    num_seeds: int | None = None
    """Training seeds are drawn below it; by default 4 with a reference, which costs a run for every pair of instance
    and seed that is met, and any seed without."""
    iterations: int = AgentTraining.iterations
    """Episodes per lane, between which the policy is updated."""
    workers: int = AgentTraining.workers
    """Processes; 0 takes one per core, and one on a GPU."""
    lanes: int = AgentTraining.lanes
    """Episodes at once in each process."""
    stagger: bool = False
    """Cut the first episodes of an iteration to different lengths, so that a batch of steps has early and late rounds;
    not of cma_es and es."""
    learning_rate: float = AgentTraining.learning_rate
    """Of the policy."""
    held_out: int | None = None
    """So many of the family's instances, the last ones, are never trained on, and the policy is evaluated on them; 8 by
    default, and at most half of the family."""
    evaluate_every: int = AgentTraining.evaluate_every
    """After so many iterations the policy is evaluated there, and the best one is kept; 0 keeps the last."""
    training_seeds: int = 1
    """So many trainings, with the seeds from --seed on, in folders of their own; the best on held-out instances is
    kept, and seeds.json has the spread."""
    log: str = "none"
    """tensorboard writes every iteration for TensorBoard, where that is installed."""
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

        from mapopt.agents.learning.seeds import train_agents
        from mapopt.agents.learning.state import finished_iterations
        from mapopt.agents.learning.training import train_agent

        settings = replace(settings, family=self.family.make(self.data), device=str(choose_device(self.device)))
        names, episodes = ", ".join(settings.make_action().knobs), settings.processes * settings.lanes
        several = f"{self.training_seeds} times " if self.training_seeds != 1 else ""
        length = f"{several}{settings.iterations} iterations of {episodes} episodes"
        print(f"training an agent with {settings.algo} on {names}: {length}", flush=True)
        seeds = range(self.seed, self.seed + self.training_seeds)
        folders = [self.out] if self.training_seeds == 1 else [self.out / f"seed-{seed}" for seed in seeds]
        going_on = self.resume and not self.overwrite
        finished = sum(min(finished_iterations(each), settings.iterations) for each in folders if going_on)
        total = settings.iterations * len(folders)
        with Waiting(
            "training",
            total=total,
            done=finished,
            unit="iterations",
            expected=self._expected(total - finished, settings.lanes),
        ) as waiting:

            def report(progress: Progress, before: int = 0, which: str = "") -> None:
                waiting.advance(before + progress.iteration + 1)
                left = waiting.remaining()
                print(f"{which}{progress}, {left}" if left else f"{which}{progress}", flush=True)

            def report_of(seed: int, progress: Progress) -> None:
                report(progress, settings.iterations * seeds.index(seed), f"seed {seed}, ")

            orders = {"name": self.name, "resume": self.resume, "overwrite": self.overwrite, "log": self.log}
            given: dict[str, Any] = {**orders, "command": shlex.join(["mapopt", *sys.argv[1:]])}
            if self.training_seeds == 1:
                agent = train_agent(settings, self.out, report=report, **given)
            else:
                agent = train_agents(settings, self.out, training_seeds=self.training_seeds, report=report_of, **given)
        if "seeds" in agent.training:
            spread = agent.training["seeds"]
            scores = ", ".join(f"{score:+.4f}" for score in spread["scores"].values())
            print(f"held-out returns of the seeds: {scores}; kept that of seed {spread['best']}")
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

    def _reference(self) -> Any:
        """Returns what rewards are relative to."""
        if self.reference not in (None, NONE, BASELINE):
            return CONTROLLERS.choice(self.reference, self.reference_settings)
        if self.reference_settings:
            raise ConfigError("--reference-settings was given without a controller as --reference: give both")
        return self.reference

    def _settings(self) -> AgentTraining:
        """Returns the settings, as far as they are known before the family is made."""
        FAMILIES.check_name(self.family.name)
        return AgentTraining(
            budget=self.budget,
            knobs=self.knobs,
            action=self._action(),
            baseline=CONTROLLERS.choice(self.baseline, self.baseline_settings),
            reference=self._reference(),
            num_seeds=self.num_seeds,
            held_out=self.held_out,
            evaluate_every=self.evaluate_every,
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
            stagger=self.stagger,
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
