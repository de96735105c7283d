"""The images of a task, loaded or drawn once in a process however many runs train on them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mapopt.errors import DataError
from mapopt.registry import is_text, load

if TYPE_CHECKING:
    from mapopt.data import Splits
    from mapopt.experiments.comparison.task_config import TaskConfig


def splits_of(task: TaskConfig, seed: int) -> Splits:
    """Returns the data of a run: shapes are drawn for every seed, other images are the same for all."""
    images = task.data_alone
    return _shapes(images, seed) if images.data is None else _read(images)


def fingerprints(task: TaskConfig) -> list[str]:
    """Returns what stands for the content of the three splits of real images."""
    splits = splits_of(task, 0)
    return [split.fingerprint for split in (splits.train, splits.val, splits.test)]


@lru_cache(maxsize=64)
def _shapes(task: TaskConfig, seed: int) -> Splits:
    from mapopt.data import make_shapes_splits

    train, val, test = task.images
    return make_shapes_splits(task.scenes, seed=seed, train=train, val=val, test=test)


@lru_cache(maxsize=4)
def _read(task: TaskConfig) -> Splits:
    from mapopt.data import load_splits

    data = str(task.data)
    if not is_text(data) and not Path(data).exists():
        raise DataError(f"{data}: no such file or folder. Check the path, or give --data the folder that holds {data}.")
    if not is_text(data) or Path(data).exists():
        return load_splits(data, size=task.size, invalid=task.invalid, split=task.split, bits=task.bits)
    part = load(data, "data")
    return load_splits(part() if callable(part) else part, size=task.size, invalid=task.invalid)
