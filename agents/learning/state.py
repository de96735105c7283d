"""The state that an agent's training is resumed from: the learner's numbers, settings and the iterations so far.

What is read is held against the training that goes on: its settings here, and the names, shapes and types of every
tensor by the learner that takes them up.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapopt.agents.learning.held_out import Best
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.restoring import LearnerState
from mapopt.agents.learning.settings import same_training
from mapopt.documents import parse_json
from mapopt.errors import AgentError, ConfigError
from mapopt.files import write_json
from mapopt.settings import from_mapping
from mapopt.weights import read_weights, write_weights

VERSION = 2

UNSEALED = (1,)
"""Earlier versions, which had no checksum and are still read."""

STATE, LOG = "training.pt", "progress.json"
"""Names of the files of a training."""

REMEDY = "Begin the training anew with --overwrite, or in another --out."


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What a training goes on from."""

    learner: LearnerState
    log: tuple[Progress, ...]
    planned: int
    """Iterations that the training was begun with."""
    best: Best | None = None
    """The policy that was best on held-out instances so far."""


def write_state(out: Path, state: TrainingState, described: dict[str, Any]) -> None:
    """Writes the state of a training and, for people, its iterations."""
    entries = [dataclasses.asdict(progress) for progress in state.log]
    content = {
        "version": VERSION,
        "settings": json.dumps(described),
        **{item.name: getattr(state.learner, item.name) for item in dataclasses.fields(LearnerState)},
        "log": entries,
        "planned": state.planned,
        "best": None
        if state.best is None
        else {item.name: getattr(state.best, item.name) for item in dataclasses.fields(Best)},
    }
    write_weights(out / STATE, content)
    write_json(out / LOG, entries)


def finished_iterations(out: Path) -> int:
    """Returns how many iterations a folder's training has finished, by its list for people; 0 without one."""
    try:
        return len(json.loads((out / LOG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return 0


def read_state(path: Path, described: dict[str, Any]) -> TrainingState:
    """Reads the state of a training with some settings.

    Args:
        path: of the file.
        described: the settings of the training that goes on.

    Raises:
        AgentError: the file is damaged, of another version, or of a training with other settings.
    """
    content = read_weights(
        path,
        what="the state of an agent's training",
        version=VERSION,
        unsealed=UNSEALED,
        remedy=REMEDY,
        error=AgentError,
    )
    try:
        record: _Record = from_mapping(_Record, content, str(path))
        settings = parse_json(record.settings, f"{path}: settings")
    except ConfigError as error:
        raise AgentError(f"{error} {REMEDY}") from None
    if not isinstance(settings, dict) or "family" not in settings or not same_training(settings, described):
        raise AgentError(f"{path} is of a training with other settings: give the same ones, or another --out")
    return TrainingState(
        learner=LearnerState(
            policy=record.policy,
            optimizers=record.optimizers or {"policy.optimizer": record.optimizer},
            tensors=record.tensors,
            counters=record.counters,
            replay=record.replay,
        ),
        log=record.log,
        planned=record.planned or len(record.log),
        best=record.best,
    )


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What the file of a state holds; what has a default is missing in those of earlier versions."""

    version: int
    settings: str
    policy: dict[str, Any]
    log: tuple[Progress, ...]
    optimizer: dict[str, Any] = field(default_factory=dict)
    """Of the first trainings, all of which were PPO's."""
    optimizers: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    replay: dict[str, Any] = field(default_factory=dict)
    planned: int = 0
    best: Best | None = None

    def __post_init__(self) -> None:
        if [progress.iteration for progress in self.log] != list(range(len(self.log))):
            raise ConfigError("log has not the iterations 0, 1, 2 and so on.")
