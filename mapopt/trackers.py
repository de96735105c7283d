"""Packages that people watch their trainings with, behind one interface: TensorBoard, those like wandb, and MLflow.

None of them is needed, and each is imported where it is asked for and nowhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from mapopt.errors import ConfigError, unknown_name

FOLDER = "tensorboard"
"""Name of the folder of TensorBoard's files in the folder of a run."""

PROJECT = "mapopt"
"""What runs are filed under where a package asks for a project."""


class Tracker(Protocol):
    """Where numbers are sent to."""

    key: str
    """What the package knows the run by, to go on with it later; empty where its name is enough."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers by name, such as ``val/ap``, at a step, counted in images."""

    def close(self) -> None:
        """Ends."""


def check_tracker(log: str, known: tuple[str, ...] = ()) -> None:
    """Raises ConfigError unless there is such a log, and the package that it needs is installed.

    Args:
        log: a name in `TRACKERS`, or "none".
        known: the names that are offered; all by default.

    >>> check_tracker("tensorbord")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: unknown log 'tensorbord': did you mean 'tensorboard'? ...
    """
    names = known or ("none", *TRACKERS)
    if log not in names:
        raise ConfigError(unknown_name("log", str(log), names))
    if log != "none" and importlib.util.find_spec(log) is None:
        raise ConfigError(f"--log {log} needs {log}, which is not installed: pip install {_PACKAGES.get(log, log)}")


def open_tracker(log: str, folder: Path, *, config: Mapping[str, Any], key: str = "", step: int = 0) -> Tracker:
    """Opens a log for a run.

    Args:
        log: a name in `TRACKERS`.
        folder: of the run, whose name the run has there, too.
        config: its settings in flat names.
        key: the `Tracker.key` of a run that is to go on.
        step: the last step that was sent before; what was sent after it is to be forgotten where that is possible.
    """
    return TRACKERS[log](folder, config, key, step)


class _TensorBoard:
    key = ""

    def __init__(self, folder: Path, config: Mapping[str, Any], key: str, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=step + 1 if step else None)
        if not step:
            rows = "\n".join(f"| {name} | {value} |" for name, value in config.items())
            self._writer.add_text("config", f"| setting | value |\n| --- | --- |\n{rows}")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Writes scalars, and at once to the file, so that they are seen while the run goes on."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class _LikeWandb:
    """wandb, or a package with its interface, such as trackio: ``init``, ``log(numbers, step=...)``, ``finish``."""

    def __init__(self, module: str, folder: Path, config: Mapping[str, Any], key: str, step: int) -> None:
        self._module = importlib.import_module(module)
        wanted = {"project": PROJECT, "name": folder.name, "config": dict(config), "resume": "allow"}
        about = {**wanted, "dir": str(folder), **({"id": key} if key else {})}
        run = self._module.init(**{name: value for name, value in about.items() if _takes(self._module.init, name)})
        self.key = str(getattr(run, "id", None) or "")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers."""
        self._module.log(dict(numbers), step=step)

    def close(self) -> None:
        """Waits until everything is sent."""
        self._module.finish()


class _MLflow:
    def __init__(self, folder: Path, config: Mapping[str, Any], key: str, step: int) -> None:
        self._module: Any = importlib.import_module("mlflow")
        self._module.set_experiment(PROJECT)
        run = self._module.start_run(run_id=key) if key else self._module.start_run(run_name=folder.name)
        self.key = str(run.info.run_id)
        if not key:
            # 250 characters and 100 settings at a time are what every version and store takes.
            rows = [(_plain(name), str(value)[:250]) for name, value in config.items()]
            for first in range(0, len(rows), 100):
                self._module.log_params(dict(rows[first : first + 100]))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Sends numbers; names keep the characters that MLflow takes."""
        self._module.log_metrics({_plain(name): value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._module.end_run()


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Returns whether a function takes a keyword; packages like wandb have most of its own."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _plain(name: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", name)


def _like_wandb(module: str) -> Callable[[Path, Mapping[str, Any], str, int], Tracker]:
    return lambda folder, config, key, step: _LikeWandb(module, folder, config, key, step)


TRACKERS: Mapping[str, Callable[[Path, Mapping[str, Any], str, int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _like_wandb("wandb"),
    "trackio": _like_wandb("trackio"),
    "mlflow": _MLflow,
}
"""What can be logged to, by the name of the package that is imported."""

_PACKAGES = {"mlflow": "mlflow-skinny"}
"""What is to be installed where a part of a package is enough."""
