"""`mapopt export`: writes a trained detector for other programs, as weights, a program of torch's, or ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mapopt.commands.command import Command
from mapopt.fields import NOT_A_SETTING
from mapopt.locks import lock_file
from mapopt.training.exporting import check_export, description_path
from mapopt.training.run_files import checkpoint_path


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a trained detector for other programs: as plain weights, for torch.export, or as ONNX.

    A program takes images of the detector's size and returns every location's boxes and scores, before suppression.
    Beside the file stands FILE.json: categories, how pixels are given, what the outputs mean, and the post-processing
    that the detector was trained with. The detector is exported on the CPU, and runs wherever the program does.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt export runs/cells --format onnx --out cells.onnx",
        "mapopt export runs/cells/best.pt --format state_dict --out cells.pth",
    )
    positional: ClassVar[str] = "checkpoint"

    checkpoint: Path
    """best.pt of a training run, or the run's folder."""
    detector: str | None = None
    """module:attribute of the checkpoint's detector, if it is one of your own; a file alone imports nothing."""
    format: str = "onnx"
    """onnx; torch_export, for torch.export.load; or state_dict, the weights by the names of the detector's module,
    which torchvision's own model loads where the detector is torchvision's."""
    out: Path
    """The file to write."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the file."""

    def run(self) -> None:
        """Exports."""
        check_export(self.format, self.out, overwrite=self.overwrite)
        path = checkpoint_path(self.checkpoint)
        # What is wrong with the flags has been said by now; what is imported from here on takes seconds.
        import torch

        from mapopt.training.exporting import export
        from mapopt.training.trained_detector import TrainedDetector

        with lock_file(self.out):
            detector = TrainedDetector(path, torch.device("cpu"), detector=self.detector)
            export(detector, self.out, format=self.format, overwrite=self.overwrite)
        print(f"wrote {self.out} ({self.out.stat().st_size:,} bytes) and {description_path(self.out)}")
