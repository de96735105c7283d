"""The commands `mapopt compare` and `mapopt plot`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mapopt.commands.command import Command
from mapopt.devices import choose_device
from mapopt.drawing.styles import Family
from mapopt.errors import StoreError
from mapopt.experiments.comparison.config import Experiment, load_experiment
from mapopt.experiments.comparison.jobs import Message, missing_groups, run_groups
from mapopt.experiments.comparison.search import as_yaml, search
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting.figures import draw_all
from mapopt.experiments.reporting.report import Summary, summarize
from mapopt.experiments.reporting.terminal import print_summary
from mapopt.files import write_json
from mapopt.losses import LOSSES


@dataclass(frozen=True, kw_only=True)
class _OnExperiment(Command):
    """What the commands about an experiment share."""

    config_holds_flags: ClassVar[bool] = False
    config: Annotated[str, tyro.conf.arg(metavar="FILE|NAME")] = "default"  # type: ignore[assignment]
    """The experiment: a YAML file, or the name of a shipped one."""
    out: Path = Path("runs")
    """The store; figures and summary.json are in OUT/EXPERIMENT/."""
    data: str | None = None
    """Use this folder of images instead of the tasks' own data."""
    methods: tuple[str, ...] = ()
    """Only these methods."""
    seeds: int | None = None
    """Seeds per method, instead of the experiment's."""
    reference: Annotated[str | None, tyro.conf.arg(metavar="METHOD")] = None
    """Compare the others with this method, instead of the experiment's reference."""

    def settings(self) -> Experiment:
        """Returns the experiment as the flags have it."""
        experiment = load_experiment(self.config)
        if self.methods:
            experiment = experiment.only(self.methods)
        if self.data is not None:
            experiment = experiment.with_data(self.data)
        if self.reference is not None:
            experiment = replace(experiment, reference=self.reference)
        return replace(experiment, seeds=self.seeds) if self.seeds is not None else experiment

    def kept(self) -> str:
        """Says what an interrupted comparison leaves behind."""
        return f"Finished runs are kept in {self.out}; the same command goes on with the others."


@dataclass(frozen=True, kw_only=True)
class Compare(_OnExperiment):
    """Train every method on every task with every seed at equal budget, test once, and report with intervals.

    Runs that the store already has are not trained again; a comparison that was stopped goes on where it was.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt compare --methods baseline agent --seeds 8",
        "mapopt compare --config losses --workers 2 --out runs",
    )

    workers: int = 0
    """Processes; 0 takes one per core, and one on a GPU."""
    search: bool = False
    """Search the methods' settings on other seeds instead, and print the section to keep in the configuration. What
    was found is kept in OUT too, so that a search that was stopped goes on."""

    def run(self) -> None:
        """Compares, or searches."""
        experiment = self.settings()
        console = Console(soft_wrap=not sys.stdout.isatty())
        device = str(choose_device(self.device))
        workers = self.workers or (1 if device.startswith("cuda") else max(1, len(os.sched_getaffinity(0))))
        if self.search:
            _search(experiment, self.out / experiment.name / "searches", workers, device, console)
            return
        store = Store(self.out)
        groups = missing_groups(experiment, store)
        total = len(experiment.tasks) * len(experiment.methods) * experiment.seeds
        missing = sum(len(group.seeds) for group in groups)
        console.print(f"{experiment.name}: {total} runs, {total - missing} of them in {self.out}, {missing} to do")
        if groups:
            began = time.perf_counter()
            _follow(experiment, run_groups(experiment, store, groups, workers=workers, device=device), missing, console)
            console.print(f"trained and tested {missing} runs in {time.perf_counter() - began:.0f} s")
        _report(experiment, store, self.seed, console)


@dataclass(frozen=True, kw_only=True)
class Plot(_OnExperiment):
    """Draw a comparison's table, summary.json and figures again from its store, without training."""

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt plot --config losses",
        "mapopt plot --methods baseline agent --out runs",
    )

    def run(self) -> None:
        """Draws."""
        _report(self.settings(), Store(self.out), self.seed, Console(soft_wrap=not sys.stdout.isatty()))


def _follow(experiment: Experiment, messages: object, missing: int, console: Console) -> None:
    """Shows the messages of the workers: a bar on a terminal, a line per finished group elsewhere."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        whole = progress.add_task("runs", total=missing)
        bars: dict[object, int] = {}
        for message in messages:  # type: ignore[attr-defined]
            assert isinstance(message, Message)
            group = message.group
            label = (
                f"{group.task} {group.method} seeds {group.seeds[0]}-{group.seeds[-1]}: tune AP {message.val_ap:.3f}"
            )
            if group not in bars:
                bars[group] = progress.add_task(label, total=experiment.budget.rounds)
            progress.update(bars[group], completed=message.rounds, description=label)  # type: ignore[arg-type]
            if message.kind == "done":
                progress.remove_task(bars.pop(group))  # type: ignore[arg-type]
                progress.advance(whole, len(group.seeds))
                if not console.is_terminal:
                    console.print(label)


def _report(experiment: Experiment, store: Store, seed: int, console: Console) -> Summary:
    keys = {(task, method): experiment.key(task, method) for task in experiment.tasks for method in experiment.methods}
    runs = [
        run
        for run in store.runs(experiment.name)
        if keys.get((run.task, run.method)) == run.key and run.seed < experiment.seeds
    ]
    if not runs:
        raise StoreError(
            f"{store.root / experiment.name} holds no runs of this experiment as it is configured now: "
            "run `mapopt compare` first"
        )
    if all(run.method != experiment.reference for run in runs):
        raise StoreError(
            f"{store.root / experiment.name} holds no runs of the reference method '{experiment.reference}': "
            "run `mapopt compare` first, or name another with --reference"
        )
    summary = summarize(runs, reference=experiment.reference, objects=_objects(experiment))
    folder = store.root / experiment.name
    write_json(folder / "summary.json", summary.as_dict())
    print_summary(summary, console)
    drawn = draw_all(runs, folder, summary, families=_families(experiment))
    console.print(f"wrote {folder / 'summary.json'} and {len(drawn)} figures in {folder}")
    return summary


def _objects(experiment: Experiment) -> dict[str, list[int]]:
    """Returns the training objects per category of every task, in the first seed's images."""
    any_method = next(iter(experiment.methods))
    return {
        task: experiment.task(task, any_method, 0).splits.train.annotations.counts.tolist() for task in experiment.tasks
    }


def _families(experiment: Experiment) -> dict[str, Family]:
    """Returns which kind of class loss each method trains with; methods are coloured by it."""
    return {
        name: "pointwise" if method.recipe.loss not in LOSSES or LOSSES[method.recipe.loss].pointwise else "ranking"
        for name, method in experiment.methods.items()
    }


def _search(experiment: Experiment, folder: Path, workers: int, device: str, console: Console) -> None:
    outcomes = []
    for found in search(experiment, folder, workers=workers, device=device):
        outcomes.append(found)
        console.print(f"# {found.task}, {found.method}: {found.seconds:.0f} s", highlight=False)
        for tried in found.tried:
            spread = " ".join(f"{value:.3f}" for value in tried.val_ap)
            lost = f", {tried.diverged} diverged" if tried.diverged else ""
            console.print(f"#   {tried.knobs}: tune AP {tried.mean:.4f} ({spread}{lost})", highlight=False)
    order = list(experiment.methods)
    outcomes.sort(key=lambda one: order.index(one.method))
    console.print(as_yaml(outcomes), highlight=False, markup=False)
