"""`mapopt train`: one detector, one controller, one budget, and a folder that a killed run can be resumed from.

The flags are `mapopt.training.settings.TrainSettings`, and the work is that of `mapopt.train`.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mapopt.bounds import THREADS, check_whole
from mapopt.commands.command import Command
from mapopt.errors import ConfigError, MapoptError, TimeUp
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes
from mapopt.processes import announced, speaks
from mapopt.trackers import check_tracker
from mapopt.training.distributed import check_processes
from mapopt.training.run_files import FIGURES, RESULT, output_of, stage
from mapopt.training.settings import TrainSettings

if TYPE_CHECKING:
    from mapopt.data.splits import Splits
    from mapopt.training.trained_run import TrainedRun


OUT_OF_TIME = 75
"""Exit status of a run whose time limit came first: the system's word for what is to be tried again."""


@dataclass(frozen=True, kw_only=True)
class Train(TrainSettings, Command):
    """Train a detector, selected by its AP on the val split and tested once at the end.

    Every round trains on a part of the images and measures AP on the val split. The output folder gets config.yaml,
    rounds.jsonl and rounds.csv, the checkpoints best.pt and last.pt, and at the end result.json and figures: how the
    training went, the data, training samples, what is found on the val split. A run that was killed goes on with the
    same command and --resume. The exit status is 1 if the run diverged: a loss or gradient was not finite.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt train --recipe.loss rank_sort --images 25600 --out runs/rank-sort",
        "mapopt train --data cells --size 96 128 --recipe.detector resnet18 --out runs/cells --resume",
        "mapopt train --data cells --size 96 128 --epochs 40 --workers 2 --time-limit 1.5 --out runs/cells",
        "mapopt train --data cells --size 96 128 --recipe.detector resnet18 --processes 2 --out runs/two",
    )

    out: Path = Path("runs/train")
    """Folder for the run."""
    resume: bool = field(default=False, metadata=NOT_A_SETTING)
    """Go on with the run in the folder; begins it if there is none yet."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the run in the folder."""
    log: str = field(default="none", metadata=NOT_A_SETTING)
    """Send the rounds to tensorboard (files in the folder), wandb, trackio or mlflow, where that is installed."""
    val_loss: bool = field(default=False, metadata=NOT_A_SETTING)
    """Measure the losses on the val split, too, after every round: another pass over it."""
    figures: bool = field(default=True, metadata=NOT_A_SETTING)
    """Draw figures into the folder at the end; `mapopt plot RUN` draws them later."""

    processes: int = field(default=1, metadata=NOT_A_SETTING)
    """Share every step and every evaluation among so many processes of this machine, each with a GPU of its own where
    there are some; torchrun starts them on several machines."""

    def processes_to_start(self) -> int:
        """Returns the processes that were asked for, unless this is one of them.

        Raises:
            ConfigError: that is no number of processes, or torchrun has started others.
        """
        check_whole("processes", self.processes, 1, THREADS)
        started = announced()[1]
        if started == 1:
            check_processes(self.device, self.recipe.batch_size, self.processes)
            return self.processes
        if self.processes not in (1, started):
            raise ConfigError(
                f"processes is {self.processes}, but torchrun has started {started}: leave it out, or give the same"
            )
        return 1

    def run(self) -> int:
        """Trains, and tests the best weights; returns 1 if the run diverged."""
        begun, finished = stage(self.out, resume=self.resume)
        check_tracker(self.log)
        self.check_run(resumed=begun, finished=finished)
        if speaks():
            output_of(self.out).check(resume=self.resume, overwrite=self.overwrite)
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.training.session import train_detector
        from mapopt.training.shown import Shown

        shown = Shown(progress=True, val_loss=self.val_loss, log=self.log, at_end=self._end)
        try:
            run = train_detector(self, out=self.out, resume=self.resume, overwrite=self.overwrite, shown=shown)
        except TimeUp as error:
            if speaks():
                print(error)
            return OUT_OF_TIME
        return int(run.status == "diverged")

    def _end(self, run: TrainedRun, splits: Splits | None) -> None:
        """Prints the outcome and draws the figures that are not there yet."""
        print(_describe(run), flush=True)
        missing = [name for name in FIGURES if not (self.out / name).is_file()]
        if self.figures and splits is not None and (missing or not run.was_finished):
            print(_draw(self.out, run, splits))

    def kept(self) -> str:
        """Says what an interrupted run leaves behind."""
        if (self.out / RESULT).is_file():
            return f"The run is finished; `mapopt plot {shlex.quote(str(self.out))}` draws its figures."
        if not (self.out / "last.pt").is_file():
            return "No round was finished, so nothing is kept; the same command with --resume begins again."
        return f"Every finished round is kept in {self.out}; the same command with --resume goes on from there."


def _draw(folder: Path, run: TrainedRun, splits: Splits) -> str:
    """Draws a run's figures; returns what to say of it. A run is none the worse for figures that cannot be drawn."""
    later = f"`mapopt plot {shlex.quote(str(folder))}` draws them later"
    if importlib.util.find_spec("matplotlib") is None:
        return f"no figures: matplotlib is not installed (pip install matplotlib); {later}"
    from mapopt.drawing.run_figures import draw_run

    try:
        figures = draw_run(run.history, run.detector, splits, test=run.summary["test"], own_transform=True)
        for name, content in figures.items():
            write_bytes(folder / name, content)
    except MapoptError as error:
        return f"no figures: {error} {later}"
    return f"figures: {', '.join(figures)}"


def _describe(run: TrainedRun) -> str:
    lines = []
    if run.was_finished:
        lines.append(f"{run.folder}: this run is finished after {len(run.history)} rounds; nothing to do")
        lines += [run.note] if run.note else []
    if run.status == "diverged":
        advice = f"diverged in round {len(run.history)}: {run.reason}. Try a lower --knobs.lr. See {run.folder}"
        return "\n".join([*lines, advice])
    lines += [f"stopped: {run.reason}"] if run.status == "stopped" else []
    test = run.summary["test"]
    lines.append(
        f"test AP {test['ap']:.4f}, AP50 {test['ap50']:.4f}, AP75 {test['ap75']:.4f} with the weights of round "
        f"{run.selected + 1} (val AP {run.val.ap:.4f}, gap {run.summary['gap']:+.4f})"
    )
    lines.append(
        f"{run.summary['images']} images in {run.summary['seconds']:.1f} s; see {run.folder}{os.sep}result.json"
    )
    return "\n".join(lines)
