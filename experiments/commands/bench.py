"""The commands of `mapopt bench`: losses, ap, fleet, training, env, headroom, replay, learners, audit and cli."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError
from mapopt.experiments.bench.settings import (
    CommandLineSettings,
    EnvironmentSettings,
    EvaluatorSettings,
    FleetSettings,
    HeadroomSettings,
    LabelAuditSettings,
    LearnersSettings,
    LossSettings,
    ReplaySettings,
    TrainingSettings,
)
from mapopt.output import Output


@dataclass(frozen=True, kw_only=True)
class _Bench(Command):
    """What the benchmarks share."""

    files: ClassVar[tuple[str, ...]] = ()
    """Patterns of what is written into OUT."""

    out: Path | None = None
    """Folder for the numbers and figures; without it nothing is written."""

    def check_out(self) -> None:
        """Raises StoreError where the folder is not empty."""
        if self.out is not None:
            Output(self.out, self.files).check()


@dataclass(frozen=True, kw_only=True)
class BenchLosses(LossSettings, _Bench):
    """Measure what ranking losses cost and how well they stand for AP.

    time: seconds and memory against the length of the list, beside the published loops over positives and the matrix
    of all pairs. fidelity: how each loss stands for AP, and whether its gradient raises it. descent: steps until AP is
    1. mass: which classes the gradient attends to. A default run takes a few minutes on one core.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench losses --out benchmark",
        "mapopt bench losses --parts time --members ap rank_sort --sizes 1000 100000",
    )
    files: ClassVar[tuple[str, ...]] = ("losses.json", "*.png")

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device, threads=self.threads)
        self.check_out()
        from mapopt.experiments.bench.losses import bench_losses, write_losses

        measured = bench_losses(self, seed=self.seed, device=choose_device(self.device, threads=self.threads))
        if self.out is not None:
            for path in write_losses(measured, self.out):
                print(f"wrote {path}")


@dataclass(frozen=True, kw_only=True)
class BenchAP(EvaluatorSettings, _Bench):
    """Measure time and memory of AP beside pycocotools and the packages that others offer for it.

    From arrays in memory to the twelve numbers, on random sets: small (64 images), medium (512), coco (5000 images, 80
    categories, 100 detections an image) and crowded (200 images, 3 categories, 80 objects and 400 detections in each).
    Every evaluator has a process with one thread; they take turns, and the fastest turn counts, in processor time. Then
    few: 64 and 512 images with 1, 3 and 20 categories, the first 1, 10 and 100 calls of a process, loading included. A
    default run takes half an hour, most of it for few.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench ap --sets small crowded",
        "mapopt bench ap --sets few --repeats 3",
        "mapopt bench ap --peers False --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("ap.json", "ap.png")

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        self.check_out()
        from mapopt.experiments.bench.average_precision import bench_evaluators, write_evaluators

        costs = bench_evaluators(self, seed=self.seed)
        if self.out is not None:
            for path in write_evaluators(costs, self.out, seed=self.seed):
                print(f"wrote {path}")


@dataclass(frozen=True, kw_only=True)
class BenchFleet(FleetSettings, _Bench):
    """Measure training many lanes as one network, where a round's time goes, and what an update costs.

    A round is 40 steps of 16 images and an evaluation on 128: the network, non-maximum suppression on the device, one
    transfer of the boxes that are left, and AP. Updates of a large detector's numbers stand beside torch's optimizers.
    Numbers are the fastest of several repeats in one run.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench fleet --lanes 1 16",
        "mapopt bench fleet --threads 2 --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("fleet.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device, threads=self.threads)
        self.check_out()
        from mapopt.experiments.bench.fleet import bench_fleet
        from mapopt.files import write_json

        costs = bench_fleet(self, seed=self.seed, device=choose_device(self.device, threads=self.threads))
        if self.out is not None:
            write_json(self.out / "fleet.json", asdict(costs))
            print(f"wrote {self.out / 'fleet.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchTraining(TrainingSettings, _Bench):
    """Measure training images a second with torchvision's detectors beside a plain loop.

    The plain loop is that of torchvision's tutorial: its module with its own transform and losses, images and targets
    as lists, flips, clipping and torch's SGD. The images of both are in memory; they take turns, and the fastest turn
    of each counts, in processor time.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench training --detectors fcos_resnet18 --repeats 2",
        "mapopt bench training --detectors retinanet --size 256 --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("training.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device, threads=self.threads)
        self.check_out()
        from mapopt.experiments.bench.training import bench_training
        from mapopt.files import write_json

        costs = bench_training(self, seed=self.seed, device=choose_device(self.device, threads=self.threads))
        if self.out is not None:
            write_json(self.out / "training.json", [asdict(cost) for cost in costs])
            print(f"wrote {self.out / 'training.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchEnv(EnvironmentSettings, _Bench):
    """Measure environment steps a second by lanes and image size, and where the time of a step goes.

    A step of DetectorTraining-v0 is a default round: 40 training steps of 16 images and an evaluation on 128. Its lanes
    stand beside stable-baselines3's SubprocVecEnv with an environment of a single lane in every process, on the same
    cores in the same run. PostProcessing-v0 scores 64 images a step.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench env --lanes 1 16 --sizes 48",
        "mapopt bench env --workers 0 --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("env.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device, threads=self.threads)
        self.check_out()
        from mapopt.experiments.bench.environments import bench_environments
        from mapopt.files import write_json

        costs = bench_environments(self, seed=self.seed, device=choose_device(self.device, threads=self.threads))
        if self.out is not None:
            write_json(self.out / "env.json", asdict(costs))
            print(f"wrote {self.out / 'env.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchHeadroom(HeadroomSettings, _Bench):
    """Measure what deciding per instance can gain in a family, over one setting for all.

    Every instance is trained with every setting: offsets of the default, the same for all instances. A family is worth
    an agent where the best of each is .02 AP or 15 % above the best for all. A default run takes half an hour.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench headroom --families units recipes --out benchmark",
        "mapopt bench headroom --families shapes --knobs lr --candidates 5",
    )
    files: ClassVar[tuple[str, ...]] = ("headroom.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device)
        self.check_out()
        from mapopt.experiments.bench.headroom import bench_headroom
        from mapopt.files import write_json

        measured = bench_headroom(self, seed=self.seed, device=choose_device(self.device))
        if self.out is not None:
            write_json(self.out / "headroom.json", [asdict(each) for each in measured])
            print(f"wrote {self.out / 'headroom.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchReplay(ReplaySettings, _Bench):
    """Measure what feedback on the length of the steps gains over learning rates that are replayed.

    The method's runs are played, and with them the learning rates that take the same steps. These rates, averaged over
    other seeds of the task and over the other tasks with its optimizer, are then played without looking at the run. A
    default run takes a quarter of an hour.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench replay --out benchmark",
        "mapopt bench replay --tasks default sgd_ap_4 --seeds 4",
    )
    files: ClassVar[tuple[str, ...]] = ("replay.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device)
        self.check_out()
        from mapopt.experiments.bench.replay import bench_replay
        from mapopt.files import write_json

        measured = bench_replay(self, seed=self.seed, device=choose_device(self.device))
        if self.out is not None:
            write_json(self.out / "replay.json", [asdict(each) for each in measured])
            print(f"wrote {self.out / 'replay.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchLearners(LearnersSettings, _Bench):
    """Measure what every learner of train-agent makes of the same environment steps, and its spread.

    Every learner is trained several times on the family units with SGD, where the scale of a step is unknown, and sets
    the learning rate. Its agents, each the best of its training on held-out instances, are evaluated on instances that
    no agent was trained on, beside the baseline and random actions. A default run trains 50 agents; one that was
    interrupted goes on with --resume.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench learners --out benchmark",
        "mapopt bench learners --learners ppo cma_es blind --trainings 3 --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("learners.json", "*/seeds.json")

    out: Path | None = None
    """Folder for the agents and the numbers; without it neither is kept."""
    resume: bool = False
    """Go on in --out: what is trained is not trained again."""

    def run(self) -> None:
        """Trains, evaluates, prints, and writes."""
        self.check()
        check_device(self.device)
        if not self.resume:
            self.check_out()
        elif self.out is None:
            raise ConfigError("--resume is given without --out, the folder to go on in: give it, or leave it out")
        from mapopt.experiments.bench.learners import bench_learners
        from mapopt.files import write_json

        measured = bench_learners(self, seed=self.seed, device=str(choose_device(self.device)), out=self.out)
        if self.out is not None:
            write_json(self.out / "learners.json", [asdict(each) for each in measured])
            print(f"wrote {self.out / 'learners.json'}")


@dataclass(frozen=True, kw_only=True)
class BenchLabelAudit(LabelAuditSettings, _Bench):
    """Measure how many planted label faults an audit with detectors finds, beside cleanlab, and whether prices hold.

    Faults of five kinds are planted into a twentieth of the labels each: missing, moved, swapped, doubled, made up.
    Lanes are trained out of fold on the faulty labels, as `mapopt audit --folds` does. A set takes one to six minutes
    of a core. An --out folder keeps the detections, which the same benchmark with --resume reads again.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench audit --data sets --out benchmark",
        "mapopt bench audit --data sets --sets symbols --cleanlab cleanlab-venv/bin/python",
        "mapopt bench audit --data sets --doctor libreyolo-venv/bin/python",
    )
    files: ClassVar[tuple[str, ...]] = ("label_audit.json", "*.npz")

    resume: bool = False
    """Go on in --out: detections of an earlier run with the same settings are read."""

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        check_device(self.device)
        if not self.resume:
            self.check_out()
        elif self.out is None:
            raise ConfigError("--resume is given without --out, the folder to go on in: give it, or leave it out")
        from rich.console import Console

        from mapopt.evaluation.text_tables import print_table
        from mapopt.experiments.bench import label_audit_tables as tables
        from mapopt.experiments.bench.label_audit import audit_set

        device = choose_device(self.device)
        audits = [audit_set(self, name, seed=self.seed, device=device, out=self.out) for name in self.sets]
        makers = (tables.areas_table, tables.doctor_table, tables.reports_table, tables.prices_table)
        for table in (make(audits) for make in makers):
            if table is not None:
                print_table(table, Console())
        if self.out is not None:
            print(f"wrote {tables.write_audits(audits, self.out)}")


@dataclass(frozen=True, kw_only=True)
class BenchCommandLine(CommandLineSettings, _Bench):
    """Measure the processor time of every command's help and of a mistyped flag.

    Each answer has a process of its own, as at a terminal; the fastest of several counts. The first of them writes
    what Python compiles, so a first call after an installation takes longer.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt bench cli --repeats 3",
        "mapopt bench cli --commands train 'bench losses' --out benchmark",
    )
    files: ClassVar[tuple[str, ...]] = ("cli.json",)

    def run(self) -> None:
        """Measures, prints, and writes."""
        self.check()
        self.check_out()
        from mapopt.experiments.bench.command_line import bench_command_line
        from mapopt.files import write_json

        costs = bench_command_line(self)
        if self.out is not None:
            write_json(self.out / "cli.json", [asdict(cost) for cost in costs])
            print(f"wrote {self.out / 'cli.json'}")
