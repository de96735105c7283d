"""The state that an agent's training is resumed from: policy, optimizer, settings and the iterations so far.

What is read is held against the training that goes on: its settings, and the names, shapes and types of every tensor.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy

from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.settings import same_training
from mapopt.documents import parse_json
from mapopt.errors import AgentError, ConfigError
from mapopt.files import write_json
from mapopt.settings import from_mapping
from mapopt.weights import check_like, read_weights, write_weights

VERSION = 2

UNSEALED = (1,)
"""Earlier versions, which had no checksum and are still read."""

STATE, LOG = "training.pt", "progress.json"
"""Names of the files of a training."""

_REMEDY = "Begin the training anew with --overwrite, or in another --out."


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What a training goes on from."""

    policy: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    log: tuple[Progress, ...]


def write_state(out: Path, policy: BasePolicy, described: dict[str, Any], log: Sequence[Progress]) -> None:
    """Writes the state of a training and, for people, its iterations."""
    entries = [dataclasses.asdict(progress) for progress in log]
    state = {
        "version": VERSION,
        "settings": json.dumps(described),
        "policy": policy.state_dict(),
        "optimizer": policy.optimizer.state_dict(),
        "log": entries,
    }
    write_weights(out / STATE, state)
    write_json(out / LOG, entries)


def finished_iterations(out: Path) -> int:
    """Returns how many iterations a folder's training has finished, by its list for people; 0 without one."""
    try:
        return len(json.loads((out / LOG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return 0


def read_state(path: Path, policy: BasePolicy, described: dict[str, Any]) -> TrainingState:
    """Reads a state that fits a policy.

    Args:
        path: of the file.
        policy: that is to go on.
        described: the settings of its training.

    Raises:
        AgentError: the file is damaged, of another version, or of a training with other settings.
    """
    content = read_weights(
        path,
        what="the state of an agent's training",
        version=VERSION,
        unsealed=UNSEALED,
        remedy=_REMEDY,
        error=AgentError,
    )
    try:
        record: _Record = from_mapping(_Record, content, str(path))
        settings = parse_json(record.settings, f"{path}: settings")
    except ConfigError as error:
        raise AgentError(f"{error} {_REMEDY}") from None
    if not isinstance(settings, dict) or "family" not in settings or not same_training(settings, described):
        raise AgentError(f"{path} is of a training with other settings: give the same ones, or another --out")
    check_like(record.policy, policy.state_dict(), f"{path}: policy", error=AgentError)
    _check_optimizer(path, record.optimizer, policy)
    return TrainingState(policy=record.policy, optimizer=record.optimizer, log=record.log)


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What the file of a state holds."""

    version: int
    settings: str
    policy: dict[str, Any]
    optimizer: dict[str, Any]
    log: tuple[Progress, ...]

    def __post_init__(self) -> None:
        if [progress.iteration for progress in self.log] != list(range(len(self.log))):
            raise ConfigError("log has not the iterations 0, 1, 2 and so on.")


def _check_optimizer(path: Path, kept: dict[str, Any], policy: BasePolicy) -> None:
    """Raises AgentError unless the state of an optimizer is of the policy's parameters, with the same settings."""
    parameters, moments = list(policy.parameters()), kept.get("state")
    if _settings_of(kept) != _settings_of(policy.optimizer.state_dict()) or not isinstance(moments, dict):
        raise AgentError(f"{path}: the optimizer has other settings than this training's. {_REMEDY}")
    if moments and list(moments) != list(range(len(parameters))):
        raise AgentError(f"{path}: the optimizer has other parameters than this training's. {_REMEDY}")
    for number, state in moments.items():
        like = {"step": torch.tensor(0.0), "exp_avg": parameters[number], "exp_avg_sq": parameters[number]}
        check_like(state, like, f"{path}: optimizer.state.{number}", error=AgentError)


def _settings_of(state: dict[str, Any]) -> Any:
    """Returns an optimizer's settings as they compare, whatever else a version of torch knows."""
    groups = state.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return None
    names = ("params", "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")
    return [[list(value) if isinstance(value, tuple) else value for value in map(group.get, names)] for group in groups]
