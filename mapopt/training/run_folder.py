"""The folder of a training run: what it was begun with, its rounds and checkpoints, and its result.

A run that was killed is resumed from here, and only with the settings and images that it was begun with. What is wrong
with a folder is said before anything is written into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mapopt.errors import DataError, StoreError
from mapopt.files import write_text
from mapopt.settings import flatten, to_yaml
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.engine import Snapshot
from mapopt.training.run_files import BEST, CONFIG, LAST, RESULT, output_of

FINGERPRINTS = "fingerprints"
"""Key of the checkpoints' settings that holds what the images were."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of a run that begins or goes on.

    Raises:
        ConfigError: it is to be resumed and replaced.
        StoreError: the folder is in use, and it was not said what to do with what it holds.
    """

    folder: Path
    config: Mapping[str, Any]
    """What decides the run; a run that is resumed must have been begun with the same."""
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        output_of(self.folder).check(resume=self.resume, overwrite=self.overwrite)

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
        for checkpoint in checkpoints:
            self._check_config(checkpoint.settings)
        # A run killed between its two writes has a best state one round ahead of the last: that is where it was.
        return max(checkpoints, key=lambda checkpoint: len(checkpoint.history))

    def best(self) -> Snapshot:
        """Returns the best state of the run to resume."""
        return Checkpoint.load(self.folder / BEST).snapshot

    @property
    def finished(self) -> bool:
        """Whether the run to resume has its result already."""
        return self.last is not None and (self.folder / RESULT).is_file()

    def check_images(self, fingerprints: Mapping[str, str], name: str) -> None:
        """Raises DataError where the run was begun with other images."""
        if self.last is not None and self.last.settings[FINGERPRINTS] != fingerprints:
            raise DataError(f"{name}: the images or annotations are not those that {self.folder} was begun with")

    def begin(self) -> None:
        """Clears what is to be replaced or was left half written, and writes the settings."""
        output = output_of(self.folder)
        if self.overwrite:
            output.clear()
        output.clear_unfinished()
        write_text(self.folder / CONFIG, to_yaml(self.config))

    def _check_config(self, stored: Mapping[str, Any]) -> None:
        if FINGERPRINTS not in stored:
            raise StoreError(f"{self.folder}: its checkpoints are not of `mapopt train`. Choose another --out.")
        before = flatten({name: value for name, value in stored.items() if name != FINGERPRINTS})
        now = flatten(comparable(self.config))
        for name in {**now, **before}:
            if before.get(name) != now.get(name):
                raise StoreError(
                    f"{self.folder}: was begun with {name} {before.get(name)}, not {now.get(name)}. "
                    "Resume it with the settings in its config.yaml, or choose another --out."
                )


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a resumed run must share: all but the folder, which may have been moved."""
    return {name: value for name, value in config.items() if name != "out"}
