"""The commands `mapopt compare` and `mapopt plot`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from mapopt.commands.command import Command
from mapopt.devices import check_device
from mapopt.fields import NOT_A_SETTING

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
    """Draw a comparison's table, summary.json and figures again from its store, without training.

    Runs that other code made are among them, and a note says so. A report on some of the runs goes into a folder of its
    own, OUT/EXPERIMENT/selections/..., where it would otherwise take the place of a report on more of them.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt plot --config losses",
        "mapopt plot --methods baseline agent --out runs",
    )

    def run(self) -> None:
        """Draws."""
        from mapopt.experiments.comparison.compare import plot

        self.settings()
        plot(self.config, methods=self.methods, out=self.out, **self.options())
