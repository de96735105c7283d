"""The files in the folder of a training run, by name; needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

from mapopt.errors import CheckpointError, ConfigError
from mapopt.output import Output
from mapopt.paths import check_path
from mapopt.trackers import FOLDER
from mapopt.training.history import JSON_LINES

CONFIG = "config.yaml"
"""The settings, as flags written down."""
TABLE = "rounds.csv"
"""The rounds in flat columns: ``index``, ``knobs.lr``, ``interval.class_loss``, ``val.ap`` and so on."""
BEST = "best.pt"
"""The state that val AP selected."""
LAST = "last.pt"
"""The state after the last finished round, to go on from."""
PLAN = "plan.json"
"""What a planner decided for all rounds up to the last one that it planned, as a schedule to be replayed."""
RESULT = "result.json"
"""The outcome; a run that has it is finished."""
LOG = "log.json"
"""Which rounds `--log` has sent, and where to."""
FIGURES = (
    "results.png",
    "labels.png",
    "train_batch.png",
    "val_pictures.png",
    "precision_recall.png",
    "confusion.png",
)
"""What is drawn at the end."""


def output_of(folder: Path) -> Output:
    """Returns a run's output folder."""
    return Output(folder, (CONFIG, JSON_LINES, TABLE, BEST, LAST, PLAN, RESULT, LOG, f"{FOLDER}/*", *FIGURES), CONFIG)


def stage(folder: Path, *, resume: bool) -> tuple[bool, bool]:
    """Says whether the run to resume in a folder has begun, and whether it has its result."""
    begun = resume and any((folder / name).is_file() for name in (LAST, BEST))
    return begun, begun and (folder / RESULT).is_file()


def checkpoint_path(path: str | Path) -> Path:
    """Returns the checkpoint that is meant: a file, or ``best.pt`` of the folder of a run.

    Raises:
        CheckpointError: there is none.

    >>> checkpoint_path("runs/none")
    Traceback (most recent call last):
    mapopt.errors.CheckpointError: runs/none: no such file; expected a checkpoint, such as best.pt of a training run
    """
    if not isinstance(path, str | os.PathLike):
        kind = type(path).__name__
        raise CheckpointError(f"a checkpoint of type {kind}: expected the path of a run's folder or file")
    try:
        path = check_path(path)
        file = path / BEST if path.is_dir() else path
        check_path(file)
    except ConfigError as error:
        raise CheckpointError(f"{error}; expected a checkpoint, such as best.pt of a training run") from None
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; expected a checkpoint, such as best.pt of a training run")
    return file
