"""`mapopt train`: one detector, one controller, one budget, and a folder that a killed run can be resumed from.

The whole state is in the checkpoints, so a resumed run ends with the weights of the unbroken one, bit for bit on the
CPU. Whatever can be wrong with the flags and the data is found before the first file is written.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from mapopt.commands.command import Command
from mapopt.data import Splits
from mapopt.data.settings import FOLDER_SIZE, SHAPES, DataSettings
from mapopt.devices import choose_device
from mapopt.errors import ConfigError, DataError, StoreError
from mapopt.files import write_json, write_text
from mapopt.metrics import STATS
from mapopt.output import Output
from mapopt.settings import NOT_A_SETTING, flatten, to_mapping, to_yaml
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.reactive import Patience, Plateau
from mapopt.training.engine import Snapshot
from mapopt.training.fleet import Trainer
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs
from mapopt.training.loop import RunResult, run
from mapopt.training.recipe import Recipe
from mapopt.training.record import JSON_LINES, TABLE, ProgressPrinter, Recorder
from mapopt.training.task import Task

RESULT_VERSION = 1
"""Of ``result.json``."""

FINGERPRINTS = "fingerprints"
"""Key of the checkpoints' settings that holds what the images were."""


@dataclass(frozen=True, kw_only=True)
class Train(DataSettings, Command):
    """Train a detector, selected by its AP on the tune split and tested once at the end.

    Every round trains on a part of the images and measures AP on the tune split. The output folder gets config.yaml,
    rounds.jsonl and rounds.csv, the checkpoints best.pt and last.pt, and at the end result.json. A run that was killed
    goes on with the same command and --resume. The exit status is 1 if the run diverged: a loss or gradient was not
    finite.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt train --recipe.loss rank_sort --images 25600 --out runs/rank-sort",
        "mapopt train --data cells --size 96 128 --recipe.detector resnet18 --out runs/cells --resume",
    )

    out: Path = Path("runs/train")
    """Folder for the run."""
    resume: bool = field(default=False, metadata=NOT_A_SETTING)
    """Go on with the run in the folder; begins it if there is none yet."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the run in the folder."""
    size: tuple[int, int] | None = None
    """Folders: (height, width) that images are fitted into, 256 256 by default."""
    images: int = 12800
    """The budget: how many images to train on in all, counted again in every epoch."""
    rounds: int = 20
    """Into how many rounds the budget is cut; after each the tune split is evaluated."""
    controller: Literal["schedule", "constant", "plateau"] = "schedule"
    """What sets the learning rate: a schedule, nothing, or a reaction to a tune AP that stalls."""
    patience: int = 0
    """Stop after so many rounds without a better tune AP; 0 never stops early."""
    threads: int = 1
    """Threads of the CPU; one is fastest where others want the machine too."""
    recipe: Recipe = field(default_factory=Recipe)
    """What stays the same while the detector trains."""
    knobs: Knobs = field(default_factory=Knobs)
    """What may change while it trains: the values to start from."""
    schedule: Schedule = field(default_factory=Schedule)
    """Of --controller schedule."""
    plateau: Plateau = field(default_factory=Plateau)
    """Of --controller plateau."""

    def run(self) -> int:
        """Trains, and tests the best weights; returns 1 if the run diverged."""
        device = choose_device(self.device, threads=self.threads)
        controller, budget = self._controller(), self._budget()
        output = Output(
            self.out, ("config.yaml", JSON_LINES, TABLE, "best.pt", "last.pt", "result.json"), "config.yaml"
        )
        output.check(resume=self.resume, overwrite=self.overwrite)
        settled = self._settle(device)
        best, last = self._earlier(settled)
        if last is not None and (self.out / "result.json").is_file():
            return self._tell_finished(last)
        splits = self.load(self.size)
        prints = {name: images.fingerprint for name, images in splits.named()}
        if last is not None and last.settings[FINGERPRINTS] != prints:
            raise DataError(f"{self.data}: the images or annotations are not those that {self.out} was begun with")
        task = Task(
            name=Path(self.data).resolve().name if self.data != SHAPES else SHAPES,
            splits=splits,
            recipe=self.recipe,
            knobs=self.knobs,
        )
        trainer = Trainer(task, self.seed, device=device)
        history = last.history if last is not None else ()
        if last is not None:
            trainer.restore(last.snapshot)

        if self.overwrite:
            output.clear()
        output.clear_unfinished()
        categories = splits.train.annotations.category_names
        write_text(self.out / "config.yaml", to_yaml(settled))
        checkpoints = CheckpointFolder(
            folder=self.out,
            recipe=self.recipe,
            categories=categories,
            size=splits.train.size,
            settings={**self._comparable(settled), FINGERPRINTS: prints},
        )
        recorder = Recorder(self.out, history=history, categories=categories)
        recorder.write()
        self._introduce(splits, device, budget, len(history))
        with ProgressPrinter(budget, history=history) as printer:

            def observe(lane: int, one: Round) -> None:
                recorder(lane, one)
                printer(lane, one)

            result = run(
                trainer,
                controller,
                budget,
                observer=observe,
                checkpoints=checkpoints,
                history=history,
                best=best,
            )
        summary = self._summarize(result, splits, device)
        write_json(self.out / "result.json", summary)
        return self._tell(result, summary)

    def kept(self) -> str:
        """Says what an interrupted run leaves behind."""
        if not (self.out / "last.pt").is_file():
            return "No round was finished, so nothing is kept; the same command with --resume begins again."
        return f"Every finished round is kept in {self.out}; the same command with --resume goes on from there."

    def _controller(self) -> Controller:
        """Builds the controller, and refuses settings of another one."""
        for name, default in (("schedule", Schedule()), ("plateau", Plateau())):
            if name != self.controller and getattr(self, name) != default:
                raise ConfigError(
                    f"--{name} is given, but --controller is {self.controller}: "
                    f"give --controller {name}, or leave --{name} out"
                )
        if self.patience < 0:
            raise ConfigError(f"patience is {self.patience}: expected 0, which never stops, or more rounds")
        choices: dict[str, Controller] = {
            "schedule": self.schedule,
            "plateau": self.plateau,
            "constant": Constant(),
        }
        chosen = choices[self.controller]
        return Patience(controller=chosen, rounds=self.patience) if self.patience else chosen

    def _budget(self) -> Budget:
        whole = self.rounds * self.recipe.batch_size
        if self.rounds >= 1 and (self.images < 1 or self.images % whole):
            lower = self.images // whole * whole
            near = " or ".join(str(images) for images in (lower, lower + whole) if images > 0)
            raise ConfigError(
                f"images is {self.images}: expected {self.rounds} rounds of whole steps of {self.recipe.batch_size}, "
                f"such as {near}"
            )
        return Budget(images=self.images, rounds=self.rounds)

    def _settle(self, device: torch.device) -> Train:
        """Returns the settings with what was left open decided."""
        size = self.size if self.data == SHAPES else self.size or FOLDER_SIZE
        return dataclasses.replace(self, size=size, device=device.type)

    def _comparable(self, settled: Train) -> dict[str, Any]:
        """Returns the settings that a resumed run must share: all but the folder, which may have been moved."""
        return {name: value for name, value in to_mapping(settled).items() if name != "out"}

    def _earlier(self, settled: Train) -> tuple[Snapshot | None, Checkpoint | None]:
        """Returns the best state and the last checkpoint of the run to resume, if it has any.

        Raises:
            StoreError: it was begun with other settings.
        """
        paths = [self.out / name for name in ("last.pt", "best.pt")]
        if not self.resume or not any(path.is_file() for path in paths):
            return None, None
        found = {path.name: Checkpoint.load(path) for path in paths if path.is_file()}
        for checkpoint in found.values():
            self._check_settings(checkpoint.settings, settled)
        # A run killed between its two writes has a best state one round ahead of the last: that is where it was.
        last = max(found.values(), key=lambda checkpoint: len(checkpoint.history))
        return Checkpoint.load(self.out / "best.pt").snapshot, last

    def _check_settings(self, stored: Mapping[str, Any], settled: Train) -> None:
        if FINGERPRINTS not in stored:
            raise StoreError(f"{self.out}: its checkpoints are not of `mapopt train`. Choose another --out.")
        before = flatten({name: value for name, value in stored.items() if name != FINGERPRINTS})
        now = flatten(self._comparable(settled))
        for name in {**now, **before}:
            if before.get(name) != now.get(name):
                raise StoreError(
                    f"{self.out}: was begun with {name} {before.get(name)}, not {now.get(name)}. "
                    "Resume it with the settings in its config.yaml, or choose another --out."
                )

    def _introduce(self, splits: Splits, device: torch.device, budget: Budget, played: int) -> None:
        counts = ", ".join(f"{len(images)} {name}" for name, images in splits.named())
        height, width = splits.train.size
        print(f"{self.data}: {counts} images at {height} x {width}; {self.recipe.detector} on {device}")
        if splits.note:
            print(splits.note)
        if self.resume:
            print(f"going on after round {played} of {budget.rounds}" if played else "nothing to resume: beginning")

    def _summarize(self, result: RunResult, splits: Splits, device: torch.device) -> dict[str, Any]:
        last, test = result.history[-1], result.test
        summary: dict[str, Any] = {
            "version": RESULT_VERSION,
            "status": result.status,
            "reason": result.reason,
            "selected": result.selected,
            "rounds": len(result.history),
            "images": last.images,
            "evaluated": last.evaluated + (len(splits.test) if test else 0),
            "seconds": round(last.seconds, 3),
            "seed": self.seed,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "categories": list(splits.train.annotations.category_names),
            "val": to_mapping(result.val),
            "test": None,
            "gap": None,
        }
        if test is not None:
            summary["test"] = dict(zip(STATS, test.stats.tolist(), strict=True))
            summary["test"]["per_category"] = list(test.per_category.values())
            summary["gap"] = result.val.ap - test.ap
        return summary

    def _tell(self, result: RunResult, summary: dict[str, Any]) -> int:
        if result.status == "diverged":
            print(f"diverged in round {len(result.history)}: {result.reason}. Try a lower --knobs.lr. See {self.out}")
            return 1
        if result.status == "stopped":
            print(f"stopped: {result.reason}")
        test = summary["test"]
        print(
            f"test AP {test['ap']:.4f}, AP50 {test['ap50']:.4f}, AP75 {test['ap75']:.4f} with the weights of round "
            f"{result.selected + 1} (tune AP {result.val.ap:.4f}, gap {summary['gap']:+.4f})\n"
            f"{summary['images']} images in {summary['seconds']:.1f} s; see {self.out}{os.sep}result.json"
        )
        return 0

    def _tell_finished(self, last: Checkpoint) -> int:
        print(f"{self.out}: this run is finished after {len(last.history)} rounds; nothing to do")
        return int(last.snapshot.diverged)
