"""What every benchmark measures, as plain values: the commands' flags beside those that all commands have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapopt.agents.learning.algorithms import find_algorithm
from mapopt.commands.registry import COMMANDS
from mapopt.detectors.registry import DETECTORS
from mapopt.errors import ConfigError, DataError, unknown_name
from mapopt.losses import LOSSES

SETTINGS = 32
"""Lanes that the halving of `mapopt bench fleet` begins with."""

LossPart = Literal["time", "fidelity", "descent", "mass"]
SetName = Literal["small", "medium", "coco", "crowded", "few"]


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What is measured of which losses."""

    parts: tuple[LossPart, ...] = ("time", "fidelity", "descent", "mass")
    """What to measure."""
    members: tuple[str, ...] = tuple(LOSSES)
    """Which losses: names, or module:attribute for your own."""
    peers: bool = False
    """Compare with LibAUC and pytorch-metric-learning, too."""
    sizes: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    """time: lengths of the lists."""
    positives: tuple[float, ...] = (0.01, 10, 1000)
    """time: positives in a list; below 1 a fraction of it."""
    repeats: int = 10
    """time: turns of each, of which the fastest counts; what takes long gets fewer."""
    limit: float = 3.0
    """time: skip what is expected to take more seconds than this."""
    memory_limit: float = 4.0
    """time: skip what would keep more gigabytes than this."""
    lists: int = 200
    """fidelity: lists of each kind."""
    seeds: int = 16
    """descent: lists that each loss has to sort."""
    steps: int = 200
    """descent: steps at the most."""
    threads: int = 1
    """Threads of the CPU."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to measure, or a number makes no sense."""
        for name in self.members:
            LOSSES.check_name(name)
        check_numbers("sizes", self.sizes, 2)
        check_numbers("positives", self.positives, 1e-6)
        check_numbers("repeats", [self.repeats], 1)
        check_numbers("limit", [self.limit], 1e-3)
        check_numbers("memory-limit", [self.memory_limit], 1e-3)
        check_numbers("lists", [self.lists], 4)
        check_numbers("seeds", [self.seeds], 1)
        check_numbers("steps", [self.steps], 1)
        if not self.parts or not self.members:
            raise ConfigError(f"--{'parts' if self.members else 'members'} is empty: name at least one")


@dataclass(frozen=True, kw_only=True)
class EvaluatorSettings:
    """Which evaluators of AP are measured on which sets."""

    sets: tuple[SetName, ...] = ("small", "medium", "coco", "crowded", "few")
    """Which sets; few is six of few images and categories, for which the first 1, 10 and 100 calls of a process count,
    what is loaded included."""
    repeats: int = 5
    """Turns of each evaluator after a first one, which measures memory; the fastest counts, for few the median. After
    30 s on a set an evaluator gets no further one."""
    peers: bool = True
    """Compare with the packages of others, where they are installed, too."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to measure."""
        check_numbers("repeats", [self.repeats], 1)
        if not self.sets:
            raise ConfigError("--sets is empty: name at least one of small, medium, coco, crowded, few")


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """Which fleets are measured."""

    lanes: tuple[int, ...] = (1, 4, 16)
    """Lanes trained at once."""
    steps: int = 10
    """Steps of 16 images per measurement."""
    repeats: int = 3
    """The fastest of so many counts."""
    numbers: int = 12_000_000
    """Numbers of the lane whose updates are measured beside torch's optimizers; 0 leaves them out."""
    threads: int = 1
    """Threads of the CPU."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to measure."""
        check_numbers("lanes", self.lanes, 1)
        check_numbers("steps", [self.steps], 1)
        check_numbers("repeats", [self.repeats], 1)
        check_numbers("numbers", [self.numbers], 0)


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """Which environments are measured."""

    lanes: tuple[int, ...] = (1, 4, 16)
    """Lanes of a fleet."""
    sizes: tuple[int, ...] = (32, 48, 64)
    """Heights and widths of the images, in pixels."""
    workers: int = 2
    """Processes of the comparison with SubprocVecEnv, one thread each; 0 leaves it out."""
    steps: int = 3000
    """Steps of PostProcessing-v0; 0 leaves it out."""
    repeats: int = 3
    """The fastest of so many counts."""
    threads: int = 1
    """Threads of the CPU, of the fleets by lanes and size."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to measure."""
        check_numbers("lanes", self.lanes, 1)
        check_numbers("sizes", self.sizes, 16)
        check_numbers("workers", [self.workers], 0)
        check_numbers("steps", [self.steps], 0)
        check_numbers("repeats", [self.repeats], 1)


@dataclass(frozen=True, kw_only=True)
class HeadroomSettings:
    """Which families are measured, with which settings."""

    families: tuple[str, ...] = ("shapes", "imbalanced", "small-objects", "noisy-labels", "rescue", "units", "budgets")
    """Families of instances by name; or experiments, by name or as a file, whose tasks with their seeds are the
    instances. A family comes before a shipped experiment of its name, which recipes.yaml stands for."""
    instances: int = 18
    """Of every family, from those for evaluating agents."""
    candidates: int = 8
    """How many settings every instance is trained with; the first is the default."""
    knobs: tuple[str, ...] = ("lr", "augment", "box_weight")
    """What differs between them."""
    scale: float = 8.0
    """The largest offset: this factor on a logarithmic knob."""
    images: int = 3200
    """Budget of a run, of families without one of their own."""
    rounds: int = 5
    """Rounds of it."""
    size: int = 32
    """Pixels of the scenes' sides."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to measure, or a number makes no sense."""
        check_numbers("instances", [self.instances], 2)
        check_numbers("candidates", [self.candidates], 2)
        check_numbers("scale", [self.scale], 1.01)
        check_numbers("size", [self.size], 16)
        if not self.families or not self.knobs:
            raise ConfigError(f"--{'knobs' if self.families else 'families'} is empty: name at least one")


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """Whose feedback is measured, and on which tasks."""

    experiment: str = "autopilot"
    """The experiment: a YAML file, or the name of a shipped one."""
    method: str = "autopilot"
    """One of its methods, whose controller sets the length of the steps."""
    tasks: tuple[str, ...] = ()
    """Some of its tasks; all by default."""
    seeds: int = 8
    """Runs of each task, and replays of each kind."""

    def check(self) -> None:
        """Raises ConfigError where a number makes no sense."""
        check_numbers("seeds", [self.seeds], 2)


@dataclass(frozen=True, kw_only=True)
class LearnersSettings:
    """Which learners are trained how often, for how long, and where they are evaluated."""

    learners: tuple[str, ...] = ()
    """Which learners of `mapopt train-agent`, or blind, which is cma_es that is shown nothing but progress and so
    searches a schedule; all by default."""
    trainings: int = 5
    """Of every learner, with seeds of their own."""
    iterations: int = 8
    """Of every training."""
    lanes: int = 16
    """Episodes of an iteration."""
    instances: int = 24
    """Of those for evaluating agents; every agent plays all of them, with the same training seeds."""
    images: int = 80
    """Budget of an episode."""
    rounds: int = 5
    """Rounds of it: environment steps of an episode."""

    def check(self) -> None:
        """Raises ConfigError where there is nothing to train, or a number makes no sense."""
        for name in self.learners:
            if name != BLIND:
                find_algorithm(name)
        check_numbers("trainings", [self.trainings], 1)
        check_numbers("iterations", [self.iterations], 1)
        check_numbers("lanes", [self.lanes], 2)
        check_numbers("instances", [self.instances], 2)
        if self.instances > INSTANCES:
            raise ConfigError(f"--instances is {self.instances}: expected {INSTANCES} at most")


INSTANCES = 24
"""Of each side of the family that learners are trained on."""

BLIND = "blind"
"""Of the learners: a schedule that is searched with as many environment steps."""


@dataclass(frozen=True, kw_only=True)
class LabelAuditSettings:
    """Into which sets faults are planted, and who looks for them."""

    data: Path = Path("data")
    """The folder that holds a folder for each set."""
    sets: tuple[str, ...] = ("hemocytometer", "symbols", "aquarium")
    """Names of the sets, each a folder of COCO, Pascal VOC or YOLO."""
    fraction: float = 0.05
    """Of the labels that get a fault of each of the five kinds."""
    folds: int = 4
    """Lanes, each of which looks at what the others are trained on."""
    images: int | None = None
    """Images that each lane trains on; by default 30 times those of the set, 3200 to 25 600."""
    cleanlab: Path | None = None
    """A Python with cleanlab installed, whose scores of the same detections stand beside ours."""
    doctor: Path | None = None
    """A Python with libreyolo installed, whose doctor looks at the same labels without a detector."""

    def check(self) -> None:
        """Raises an error where there is nothing to measure, or a number makes no sense."""
        check_numbers("images", [160 if self.images is None else self.images], 160)
        check_numbers("folds", [self.folds], 2)
        if not 0 < self.fraction <= 0.2:
            raise ConfigError(f"--fraction is {self.fraction}: expected a fraction above 0, up to .2, for each kind")
        if self.cleanlab is not None and not self.cleanlab.is_file():
            raise ConfigError(f"--cleanlab is {self.cleanlab}: expected a Python with cleanlab installed")
        if self.doctor is not None and not self.doctor.is_file():
            raise ConfigError(f"--doctor is {self.doctor}: expected a Python with libreyolo installed")
        for name in self.sets:
            if not (self.data / name).is_dir():
                raise DataError(f"{self.data / name}: no such folder. Expected one for each of the --sets in --data.")


@dataclass(frozen=True, kw_only=True)
class CommandLineSettings:
    """Which commands' answers are timed."""

    commands: tuple[str, ...] = ()
    """Which commands, in quotes where they have two words; all by default."""
    repeats: int = 5
    """The fastest of so many counts."""

    def check(self) -> None:
        """Raises ConfigError where there is no such command, or nothing to measure."""
        for name in self.commands:
            if name not in COMMANDS:
                raise ConfigError(unknown_name("command", name, COMMANDS))
        check_numbers("repeats", [self.repeats], 1)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Which detectors train beside a plain loop."""

    detectors: tuple[str, ...] = ("retinanet_resnet18", "fcos_resnet18", "ssdlite", "retinanet")
    """Which of torchvision's detectors."""
    size: int = 128
    """Height and width of the images, in pixels; a multiple of 32."""
    batch_size: int = 4
    """Images a step."""
    steps: int = 2
    """Steps of a turn."""
    repeats: int = 5
    """Turns of each, one after the other; the fastest counts."""
    threads: int = 1
    """Threads of the CPU."""

    def check(self) -> None:
        """Raises ConfigError where there is no such detector, or nothing to measure."""
        for name in self.detectors:
            if name not in TORCHVISION:
                raise ConfigError(unknown_name("detector of torchvision", name, TORCHVISION))
        if not self.detectors:
            raise ConfigError("--detectors is empty: name at least one")
        if self.size < 32 or self.size % 32:
            raise ConfigError(f"--size is {self.size}: expected a multiple of 32")
        check_numbers("batch-size", [self.batch_size], 2)
        check_numbers("steps", [self.steps], 1)
        check_numbers("repeats", [self.repeats], 1)


TORCHVISION = tuple(name for name, kind in DETECTORS.items() if "torchvision" in getattr(kind, "builder", ""))
"""The names of torchvision's detectors."""


def check_numbers(flag: str, values: Sequence[float], low: float) -> None:
    """Raises ConfigError unless there are numbers, all of them from `low` up."""
    if not values or min(values) < low:
        given = " ".join(map(str, values)) or "empty"
        raise ConfigError(f"--{flag} is {given}: expected {low:g} or more")
