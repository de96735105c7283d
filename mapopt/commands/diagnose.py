"""`mapopt diagnose`: why a run's mAP is low, or what would make it low before the run is begun."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mapopt.commands.command import Command
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_json
from mapopt.output import Output
from mapopt.training.settings import TrainSettings

if TYPE_CHECKING:
    from mapopt.training.diagnosis.diagnose import Diagnosis

_STATUS = {"error": 4, "warning": 3}
"""Severity -> exit status, as of `mapopt audit`."""
_BESIDE = ("seed", "device", "threads")
"""Settings of training that may be given beside a run's folder."""


@dataclass(frozen=True, kw_only=True)
class Diagnose(TrainSettings, Command):
    """Say why the mAP of a run is low: findings in the order of evidence, each with its figure and a change to try.

    Give the folder of a run of mapopt train, ended or not: its settings, images, rounds and detections are looked at.
    Or give the flags of a run that is not begun: then settings and images are. A finding is a figure beyond a
    threshold; docs/diagnose.md says where the thresholds come from. An --out folder gets diagnosis.json.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt diagnose runs/cells",
        "mapopt diagnose --data cells --size 96 128 --knobs.lr 0.5 --range-test",
        "mapopt diagnose runs/cells --figures --out diagnosis",
    )
    positional: ClassVar[str] = "folder"

    folder: Path | None = None
    """The folder of a run; without one, the flags of a run that is not begun are looked at."""
    detector: str | None = None
    """module:attribute of the run's detector, if it is one of your own; a file alone imports nothing."""
    checks: tuple[str, ...] = ()
    """Make these checks alone; all by default."""
    sample: int = 256
    """Look at so many images of each split at the most."""
    look: bool = True
    """Audit the image files, too; False audits labels and names alone."""
    range_test: bool = False
    """Train the beginning of the run at several learning rates, 64 steps each, and say which has the lowest loss."""
    figures: bool = False
    """Print every figure that was measured, with its threshold."""
    json: bool = False
    """Print everything as JSON instead."""
    fail_on: Literal["warning", "error", "never"] = "never"
    """From which severity on the exit status is not 0: it is then 3 for a warning and 4 for an error, as of audit."""
    out: Path | None = None
    """Folder for diagnosis.json."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the diagnosis in the folder."""

    def run(self) -> int:
        """Looks, writes and prints; returns the exit status."""
        self._check()
        if self.out is None:
            return self._diagnose(None)
        output = Output(self.out, ("diagnosis.json",))
        with output.writing(overwrite=self.overwrite):
            return self._diagnose(output)

    def _check(self) -> None:
        """Finds what is wrong with the flags before torch is imported and an image is read."""
        if self.sample < 1:
            raise ConfigError(f"sample is {self.sample}: expected 1 image of each split, or more")
        check_device(self.device, threads=self.threads)
        if self.folder is None:
            if self.detector is not None:
                raise ConfigError("--detector is given without the folder of a run: give --recipe.detector")
            if self.hours is not None:
                raise ConfigError(
                    "--hours is given, and how many images that is, is known once the run has begun: give --images or "
                    "--epochs, or the folder of the run"
                )
            self.check_run()
            return
        for item in dataclasses.fields(TrainSettings):
            if item.name not in _BESIDE and getattr(self, item.name) != getattr(TrainSettings(), item.name):
                flag = item.name.replace("_", "-")
                raise ConfigError(
                    f"--{flag} is given beside the run in {self.folder}, whose own settings count: leave it out, or "
                    "leave the folder out to look at a run that is not begun"
                )

    def _diagnose(self, output: Output | None) -> int:
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        from mapopt.training.diagnosis.diagnose import diagnose_run
        from mapopt.training.diagnosis.printed import describe

        result = diagnose_run(
            self if self.folder is None else self.folder,
            detector=self.detector,
            checks=self.checks,
            sample=self.sample,
            look=self.look,
            range_test=self.range_test,
            device=choose_device(self.device, threads=self.threads),
        )
        if output is not None:
            if self.overwrite:
                output.clear()
            write_json(output.folder / "diagnosis.json", result.document())
        if self.json:
            print(json.dumps(result.document(), indent=2))
        else:
            print(describe(result, figures=self.figures))
            if output is not None:
                print(f"\nsee {output.folder / 'diagnosis.json'}")
        return self._status(result)

    def _status(self, result: Diagnosis) -> int:
        severities = {finding.severity for finding in result.findings}
        status = next((_STATUS[severity] for severity in ("error", "warning") if severity in severities), 0)
        return 0 if self.fail_on == "never" or (self.fail_on == "error" and status < _STATUS["error"]) else status

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        return "Nothing was kept, and the run is as it was."
