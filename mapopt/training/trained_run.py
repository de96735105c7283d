"""What a training run leaves: its rounds, its numbers, and the detector with the weights that val AP selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from mapopt.data.files import read_json
from mapopt.data.splits import Splits
from mapopt.errors import StoreError
from mapopt.metrics import Report
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.history import Round, Scores
from mapopt.training.run_files import BEST, LAST, RESULT
from mapopt.training.trained_detector import TrainedDetector


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A run from its first round to its test; `mapopt.train` returns one."""

    history: tuple[Round, ...]
    """Every round: knobs, losses, and the scores on the val split."""
    status: Literal["finished", "stopped", "diverged"]
    reason: str
    """Why it stopped early; empty if it did not."""
    selected: int
    """Position of the round whose weights were tested: that with the best val AP."""
    val: Scores
    """At the selected round. Selection makes it optimistic: the gap to the test shows by how much."""
    summary: Mapping[str, Any]
    """What ``result.json`` holds: these numbers, the work and the time in plain values."""
    folder: Path | None
    """Where the run is stored; None for a run in memory."""
    device: torch.device = field(repr=False)
    """Where `detector` runs."""
    was_finished: bool = False
    """Whether the run was finished before and has only been read."""
    note: str = ""
    """Why its images could not be looked at again, of a run that was finished before."""
    own_detector: str | None = field(default=None, repr=False)
    """What the detector is, if it is none of ours."""
    checkpoint: Checkpoint | None = field(default=None, repr=False)
    """The selected state, of a run in memory."""
    report: Report | None = field(default=None, repr=False)
    """The test report, where the run was tested now."""
    splits: Splits | None = field(default=None, repr=False)
    """Images in memory that it was trained with."""

    @cached_property
    def detector(self) -> TrainedDetector:
        """The detector with the selected weights, to predict and to evaluate with."""
        source = self.checkpoint if self.folder is None else self.folder / BEST
        assert source is not None
        return TrainedDetector(source, self.device, detector=self.own_detector)

    @cached_property
    def test(self) -> Report | None:
        """The report on the test split; None for a diverged run, which counts as AP 0.

        A run that was finished before is measured again, with the same bits on the same device.
        """
        if self.status == "diverged" or self.report is not None:
            return self.report
        return self.detector.evaluate(self.splits)

    @classmethod
    def read(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        splits: Splits | None = None,
        own_detector: str | None = None,
    ) -> TrainedRun:
        """Reads a finished run.

        Args:
            folder: what `mapopt train` was given as ``--out``.
            device: where its detector is to run.
            splits: the images, if they were in memory.
            own_detector: what the detector is, if it is none of ours.

        Raises:
            StoreError: the folder holds no finished run.
        """
        folder = Path(folder)
        if not (folder / RESULT).is_file():
            raise StoreError(f"{folder}: holds no finished run (no {RESULT}). Train it, or resume it.")
        summary = read_json(folder / RESULT)
        history = Checkpoint.load(folder / LAST).history
        selected = summary["selected"]
        return cls(
            history=history,
            status=summary["status"],
            reason=summary["reason"],
            selected=selected,
            val=history[selected].val if summary["status"] != "diverged" else Scores.failed(len(summary["categories"])),
            summary=summary,
            folder=folder,
            was_finished=True,
            device=torch.device(device),
            splits=splits,
            own_detector=own_detector,
        )
