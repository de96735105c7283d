"""The commands `mapopt compare` and `mapopt plot`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from mapopt.commands.command import Command
from mapopt.devices import check_device
from mapopt.errors import ConfigError, StoreError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes

if TYPE_CHECKING:
    from mapopt.experiments.comparison.options import Options


@dataclass(frozen=True, kw_only=True)
class OnExperiment(Command):
    """What the commands about an experiment share."""

    config_holds_flags: ClassVar[bool] = False
    config: Annotated[str, tyro.conf.arg(metavar="FILE|NAME")] = "default"  # type: ignore[assignment]
    """The experiment: a YAML file, or the name of a shipped one."""
    out: Path = Path("runs")
    """The store; figures and summary.json are in OUT/EXPERIMENT/."""
    data: str | None = None
    """Use these images instead of the tasks' own: a folder, or one that holds those that the tasks name; or
    module:attribute of a function that returns splits or data sets."""
    methods: tuple[str, ...] = ()
    """Only these methods."""
    tasks: tuple[str, ...] = ()
    """Only these tasks."""
    agent: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Compare this agent, too, on what the reference method trains."""
    seeds: int | None = None
    """Seeds per method, instead of the experiment's."""
    reference: Annotated[str | None, tyro.conf.arg(metavar="METHOD")] = None
    """Compare the others with this method, instead of the experiment's reference."""

    def settings(self) -> Any:
        """Returns the experiment as the flags have it."""
        from mapopt.experiments.comparison.options import make_experiment

        return make_experiment(self.config, self.methods, self.options())

    def options(self) -> Options:
        """Returns the flags as `mapopt.experiments.compare` takes them."""
        return {
            "tasks": self.tasks,
            "data": self.data,
            "seeds": self.seeds,
            "agent": self.agent,
            "reference": self.reference,
            "device": self.device,
            "report": True,
        }

    def kept(self) -> str:
        """Says what an interrupted comparison leaves behind."""
        return f"Finished runs are kept in {self.out}; the same command goes on with the others."


@dataclass(frozen=True, kw_only=True)
class Compare(OnExperiment):
    """Train every method on every task with every seed at equal budget, test once, and report with intervals.

    Runs that the store already has are not trained again; a comparison that was stopped goes on where it was. Runs
    that other code made are refused until --accept-stored counts them or --redo trains them again. Settings that
    `mapopt search` chose are read from OUT/EXPERIMENT/searched.yaml where the experiment says nothing of them.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt compare --methods baseline agent --seeds 8",
        "mapopt compare --config losses --workers 2 --out runs",
    )

    workers: int = 0
    """Processes; 0 takes one per core, and one on a GPU."""
    accept_stored: bool = field(default=False, metadata=NOT_A_SETTING)
    """Count stored runs that other code made (another version of mapopt or torch, or another kind of device)."""
    redo: bool = field(default=False, metadata=NOT_A_SETTING)
    """Train such runs again."""

    def run(self) -> None:
        """Compares."""
        check_device(self.device)
        self.settings()
        from mapopt.experiments.comparison.compare import compare

        about_stored: Options = {"accept_stored": self.accept_stored, "redo": self.redo}
        options: Options = {**self.options(), **about_stored, "workers": self.workers}
        compare(self.config, methods=self.methods, out=self.out, **options)


@dataclass(frozen=True, kw_only=True)
class Plot(OnExperiment):
    """Draw figures again, without training: those of a run's folder, or a comparison's report from its store.

    With the folder of a run of `mapopt train` its figures are drawn into it, also while it still trains; of the other
    flags only --data, --detector and --device count then. Without one a comparison's table, summary.json and figures
    are made again. Runs that other code made are among them, and a note says so. A report on some of the runs goes into
    a folder of its own, OUT/EXPERIMENT/selections/..., where it would otherwise take the place of a report on more of
    them.
    """

    positional: ClassVar[str] = "run_folder"
    examples: ClassVar[tuple[str, ...]] = (
        "mapopt plot runs/cells",
        "mapopt plot --config losses",
        "mapopt plot --methods baseline agent --out runs",
    )

    run_folder: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The folder of a run of `mapopt train`."""
    detector: str | None = None
    """module:attribute of the run's detector, if it is one of your own; a file alone imports nothing."""

    def run(self) -> None:
        """Draws."""
        if self.run_folder is not None:
            self._draw_run(self.run_folder)
            return
        if self.detector is not None:
            raise ConfigError("--detector is about a run's folder, and none is given: leave it out, or give the folder")
        from mapopt.experiments.comparison.compare import plot

        self.settings()
        plot(self.config, methods=self.methods, out=self.out, **self.options())

    def settings(self) -> Any:
        """Returns what ``--print-config`` prints: the flags about a run, or the experiment as they have it."""
        return self if self.run_folder is not None else super().settings()

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        return super().kept() if self.run_folder is None else f"{self.run_folder} is as it was."

    def _draw_run(self, folder: Path) -> None:
        """Draws the figures of a run into its folder."""
        about_runs = ("config", "out", "methods", "tasks", "agent", "seeds", "reference")
        for name in about_runs:
            if getattr(self, name) != getattr(type(self), name):
                raise ConfigError(
                    f"--{name} is given, but it says nothing about the run in {folder}: leave it out, or leave the "
                    "folder out"
                )
        check_device(self.device)
        if importlib.util.find_spec("matplotlib") is None:
            raise ConfigError("matplotlib is not installed, which draws: pip install matplotlib")
        if not folder.is_dir():
            raise StoreError(f"{folder}: no such folder. Give the --out of `mapopt train`.")
        from mapopt.drawing import draw_run_folder

        figures = draw_run_folder(folder, device=self.device, data=self.data, detector=self.detector)
        for name, content in figures.items():
            write_bytes(folder / name, content)
        print(f"{folder}: {', '.join(figures)}")
