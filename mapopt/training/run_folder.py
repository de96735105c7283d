"""The folder of a training run: what it was begun with, its rounds and checkpoints, and its result.

A run that was killed is resumed from here, and only with the settings and images that it was begun with. What is wrong
with a folder is said before anything is written into it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mapopt.data.settings import SHAPES
from mapopt.errors import DataError, StoreError
from mapopt.files import write_text
from mapopt.settings import flatten, to_yaml
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.run_files import BEST, CONFIG, LAST, RESULT, output_of
from mapopt.training.snapshots import Snapshot

FINGERPRINTS = "fingerprints"
"""Key of the checkpoints' settings that holds what the images were."""
STARTED_FROM = "started_from"
"""Key of the checkpoints' settings that holds what was in the file that a run started from."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of a run that begins or goes on; whoever has one is `Output.writing` there."""

    folder: Path
    config: Mapping[str, Any]
    """What decides the run; a run that is resumed must have been begun with the same."""
    resume: bool = False
    overwrite: bool = False
    started_from: str = ""
    """What is in the file that the run starts from; empty without one, or where it is no longer there."""

    @cached_property
    def last(self) -> Checkpoint | None:
        """The state in which the run to resume was left; None if it is not there yet.

        Raises:
            StoreError: it was begun with other settings, or by something else.
            CheckpointError: a checkpoint is damaged.
        """
        if not self.resume or not any((self.folder / name).is_file() for name in (LAST, BEST)):
            return None
        checkpoints = [Checkpoint.load(self.folder / name) for name in (LAST, BEST) if (self.folder / name).is_file()]
        starts = {checkpoint.settings.get(_START) for checkpoint in checkpoints}
        for checkpoint in checkpoints:
            self._check_config(checkpoint.settings, starts)
        whole = [checkpoint for checkpoint in checkpoints if checkpoint.snapshot.resumable]
        if not whole:
            raise StoreError(
                f"{self.folder}: has {BEST}, which is for detection, but no {LAST} to go on from. Begin another run "
                f"from its weights with --start-from {self.folder / BEST}."
            )
        # Former versions wrote a best state to go on from, and before the last: that is where such a run was killed.
        return max(whole, key=lambda checkpoint: len(checkpoint.history))

    @property
    def is_last_behind(self) -> bool:
        """Whether a run of a former version was killed between its two writes, so that its last state is older."""
        if self.last is None:
            return False
        path = self.folder / LAST
        return not path.is_file() or len(Checkpoint.load(path).history) < len(self.last.history)

    def best(self, rounds: int) -> Snapshot | None:
        """Returns what detection needs of the best state of the run to resume.

        Args:
            rounds: up to the best one.

        Returns:
            None where the run was killed before that was written: it is then the last state.
        """
        path = self.folder / BEST
        checkpoint = Checkpoint.load(path) if path.is_file() else None
        return checkpoint.snapshot if checkpoint is not None and len(checkpoint.history) == rounds else None

    @property
    def finished(self) -> bool:
        """Whether the run to resume has its result already, and is not to be longer now."""
        return self.last is not None and not self._is_longer and (self.folder / RESULT).is_file()

    @property
    def _is_longer(self) -> bool:
        return self.last is not None and any(self.last.settings[name] != self.config[name] for name in _LENGTH)

    def check_decisions(self, controller: Controller, task: TaskInfo, budget: Budget) -> None:
        """Raises StoreError unless a controller decides the rounds so far alike when the run is longer.

        Only then the run goes on as one that was begun with the longer budget.
        """
        if self.last is None or not self._is_longer:
            return
        history = self.last.history
        for position, played in enumerate(history):
            decision = controller.decide(history[:position], task, budget)
            decision = decision.turned(lambda knobs: knobs.filled_from(task.knobs).settled())
            if decision.stop or decision != Decision.of(played):
                raise StoreError(
                    f"{self.folder}: was begun with rounds {self.last.settings['rounds']}, not {budget.rounds}, and "
                    f"its controller decides round {position + 1} otherwise for a run of another length. Resume it "
                    "with the settings in its config.yaml, or begin another run from its weights with --start-from "
                    f"{self.folder / BEST}."
                )

    def check_images(self, fingerprints: Mapping[str, str], name: str) -> None:
        """Raises DataError where the run was begun with other images."""
        if self.last is not None and self.last.settings[FINGERPRINTS] != fingerprints:
            raise DataError(f"{name}: the images or annotations are not those that {self.folder} was begun with")

    def begin(self) -> None:
        """Clears what is to be replaced or was left half written, and writes the settings."""
        output = output_of(self.folder)
        if self.overwrite:
            output.clear()
        if self._is_longer:
            (self.folder / RESULT).unlink(missing_ok=True)
        output.clear_unfinished()
        write_text(self.folder / CONFIG, to_yaml(self.config))

    def _check_config(self, stored: Mapping[str, Any], starts: Collection[Any]) -> None:
        if FINGERPRINTS not in stored:
            raise StoreError(f"{self.folder}: its checkpoints are not of `mapopt train`. Choose another --out.")
        contents = (FINGERPRINTS, STARTED_FROM)
        before = flatten({name: value for name, value in comparable(stored).items() if name not in contents})
        now = flatten(comparable(self.config))
        if SHAPES not in (before.get("data", SHAPES), now.get("data", SHAPES)):
            before["data"] = now["data"]  # a folder may be elsewhere by now: what is in it is compared
        if STARTED_FROM in stored and _START in now:
            if self.started_from and stored[STARTED_FROM] != self.started_from:
                raise StoreError(
                    f"{self.folder}: was begun from a checkpoint whose content was another than that of "
                    f"{self.config[_START]} is now. Give the file as it was, or choose another --out."
                )
            if self.started_from or now[_START] in starts:
                before[_START] = now[_START]  # the same file, wherever it lies by now, or one that is gone
        if _is_longer(before, now):
            before |= {name: now[name] for name in _LENGTH}
        for name in {**now, **before}:
            if before.get(name) != now.get(name):
                raise StoreError(
                    f"{self.folder}: was begun with {name} {before.get(name)}, not {now.get(name)}. "
                    "Resume it with the settings in its config.yaml, or choose another --out."
                )


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a resumed run must share.

    These are all but the folder, which may have been moved, the device, how images are decoded, and the time limit.
    """
    return {name: value for name, value in config.items() if name not in _MACHINE}


_MACHINE = ("out", "device", "workers", "time_limit")
_START = "start_from"
_LENGTH = ("images", "rounds")


def _is_longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Says whether a budget is a longer one of rounds that are as long."""
    images, rounds = (before.get(name, 0) for name in _LENGTH)
    return bool(images * now["rounds"] == now["images"] * rounds and now["rounds"] > rounds > 0)
