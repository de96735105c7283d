"""The key of a run: a hash of everything that decides its numbers but its seed.

A key has two halves. The first is what was asked for: settings, agent, the content of the data, the source of the
user's own parts. It must not change when the code gets another setting, so what came after runs were first stored is
hashed only where it differs from its default, and everything is hashed under the names of that time. The second half
is what computed it: our code, the versions of mapopt and torch, the kind of device. A stored run that differs only
there was made by other code, which is said, and never quietly taken for a run of today.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapopt.agents import Agent, agent_fingerprint, load_agent
from mapopt.agents.registry import is_agent_file
from mapopt.detectors.request import check_weights, is_weights_file
from mapopt.experiments.comparison.data import fingerprints
from mapopt.losses.table import LOSS_TABLE
from mapopt.registry import is_text, load
from mapopt.settings import to_mapping
from mapopt.sources import module_hash
from mapopt.training import Knobs
from mapopt.training.start import content_hash

if TYPE_CHECKING:
    from mapopt.experiments.comparison.controllers import ControllerConfig
    from mapopt.experiments.comparison.task_config import TaskConfig
    from mapopt.training import Budget, Recipe

CODE = 5
"""Goes up when a change in our code changes the numbers of runs; a frozen run in the tests says when. Before 3, a
warm-up took the whole of the round in which it ended, and a step of the learning rate waited for the round's end."""

_STORED = 1
"""A part of what is hashed since runs were first stored; it stays."""

_TASK = ("data", "scenes", "images", "size", "invalid")
_TASK_TRAINING = ("recipe", "knobs", "budget_factor")
_SCENES = (
    *("size", "classes", "objects", "object_size", "imbalance", "clutter", "color", "occlusion", "noise"),
    "label_noise",
)
_RECIPE = (
    *("detector", "loss", "loss_settings", "box_loss", "scope", "balance", "soft_labels", "memory", "auxiliary"),
    *("class_balance", "optimizer", "batch_size", "clip", "ema", "weights", "autocast"),
)
_KNOBS = (
    *("lr", "weight_decay", "momentum", "box_weight", "class_weight", "focal_gamma", "surrogate_weight", "assign_iou"),
    *("augment", "nms_iou", "score_threshold", "soft_nms_sigma", "detections", "batch_fraction", "temperature"),
)
_SCHEDULE = ("shape", "warmup", "warmup_from", "final", "milestones", "factor")
_PLATEAU = ("rounds", "factor", "margin", "warmup", "warmup_from")
_AGENT = {"action": "relative", "step_size": None, "activation": "tanh", "output": "clip", "cells": ()}
_LARGE = 2
"""Goes up when a change in our code changes the numbers of detectors other than tiny, whose runs stay what they are. In
2, distances of FCOS begin above 0, and steps of SGD and AdamW on long rows are compiled."""
_WITHOUT_STATISTICS = ("tiny", "nano", "resnet18", "resnet50")
_KINDS = ("constant", "schedule", "plateau", "agent", "replay")
"""What is always hashed: the settings, agents and kinds of controllers that there were when runs were first stored."""


@dataclass(frozen=True)
class MadeBy:
    """What computes the numbers of a run."""

    code: int
    """Of our code; see `CODE`."""
    mapopt: str
    torch: str
    """Its major and minor version."""
    device: str
    """Its kind: cpu or cuda."""

    @classmethod
    def here(cls, device: str) -> MadeBy:
        """Returns what computes runs in this process on a device."""
        # The package itself is imported last of all parts, so it is only looked up.
        return cls(CODE, sys.modules["mapopt"].__version__, _torch_version(), device.partition(":")[0])

    def __str__(self) -> str:
        return f"mapopt {self.mapopt} (code {self.code}) with torch {self.torch} on {self.device}"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, as a run is stored with them."""
        return asdict(self)


@dataclass(frozen=True)
class Keys:
    """The key of a run, and what a stored run may be known by instead."""

    asked: str
    """Of what was asked for."""
    made_by: MadeBy
    former: str
    """The key under which versions before `MadeBy` stored it: of what was asked for, but of an agent only its
    weights."""
    by_path: str = ""
    """What `asked` was while the path of an agent's file was a part of it; empty without such a file."""

    @property
    def whole(self) -> str:
        """The key: of what was asked for and of what computes it."""
        content = json.dumps([self.asked, self.made_by.as_dict()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def run_keys(
    *,
    task: TaskConfig,
    recipe: Recipe,
    knobs: Knobs,
    controller: ControllerConfig,
    budget: Budget,
    select: str,
    device: str = "cpu",
) -> Keys:
    """Returns the hashes of everything that decides the numbers of a run but its seed.

    Raises:
        ConfigError: a part of the user's own cannot be imported.
        DataError: the task's folder of images cannot be read.
    """
    content: dict[str, Any] = {
        "stored": _STORED,
        "budget": {"images": budget.images, "rounds": budget.rounds},
        "task": _task(task),
        "recipe": _recipe(recipe),
        "knobs": _knobs(knobs),
        "controller": _controller(controller),
        "select": select,
    }
    sources = {text: source_hash(text) for text in own_parts(recipe, controller)}
    # A setting of a part of the user's own may name another one; any other text is just a text.
    inner = {text for text in _texts([to_mapping(recipe), controller.settings]) if is_text(text)} - sources.keys()
    sources |= {text: digest for text in sorted(inner) if (digest := module_hash(text.partition(":")[0]))}
    if sources:
        content["sources"] = sources
    former, by_path = content, ""
    if controller.runs_agent:
        former = {**content, "agent": _former_agent(controller)}
        content = {**content, "agent": agent_fingerprint(controller.agent)}
        if is_agent_file(controller.agent):
            # The file may lie elsewhere tomorrow; what is in it decides.
            by_path = _hash(content)
            content = {**content, "controller": {**content["controller"], "agent": ""}}
    return Keys(_hash(content), MadeBy.here(device), _hash(former), by_path)


def own_parts(recipe: Recipe, controller: ControllerConfig) -> list[str]:
    """Returns the parts of a run that are not mapopt's, as ``module:attribute``."""
    values = [value for value in to_mapping(recipe).values() if isinstance(value, str)]
    return sorted({text for text in (*values, *recipe.auxiliary, controller.kind) if is_text(text)})


def source_hash(text: str) -> str:
    """Returns a hash of the files that a part is written in; empty for a module without one.

    Args:
        text: ``module:attribute``.

    Raises:
        ConfigError: it cannot be imported.
    """
    load(text)
    module = text.partition(":")[0]
    return module_hash(module if module in sys.modules else "__main__")


def _texts(value: Any) -> Iterator[str]:
    """Yields every text among plain values, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for entry in value.values() for text in _texts(entry))
    elif isinstance(value, list | tuple):
        yield from (text for entry in value for text in _texts(entry))


@cache
def _torch_version() -> str:
    return ".".join(version("torch").split(".")[:2])


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _task(task: TaskConfig) -> dict[str, Any]:
    # What a task says of the training is hashed with the recipe, the knobs and the budget that come of it.
    content = {name: value for name, value in _hashed(task, _TASK).items() if name not in _TASK_TRAINING}
    content["scenes"] = _hashed(task.scenes, _SCENES)
    content["scenes"]["colour"] = content["scenes"].pop("color")
    if task.data is not None:
        # The folder may stand elsewhere tomorrow; what is in it decides.
        content["data"] = fingerprints(task)
    return content


def _recipe(recipe: Recipe) -> dict[str, Any]:
    content = _hashed(recipe, _RECIPE)
    content["balance"] = _former_balance(recipe)
    content["autocast"] = {"auto": True, "none": False}.get(recipe.autocast, recipe.autocast)
    if recipe.weights is not None and is_weights_file(recipe.weights):
        # The file may lie elsewhere tomorrow; what is in it decides.
        check_weights(recipe.weights)
        content["weights"] = content_hash(Path(recipe.weights))
    if recipe.detector != "tiny":
        content["large"] = _LARGE
    if recipe.ema and recipe.detector not in _WITHOUT_STATISTICS:
        # The first such runs were evaluated with the last statistics of their batch norms.
        content["statistics"] = "averaged"
    return content


def _former_balance(recipe: Recipe) -> str | bool | None:
    """Returns what the balance was called when runs were first stored: None where it is what it was by default."""
    scaled = LOSS_TABLE[recipe.loss].is_error_rate if recipe.loss in LOSS_TABLE else None
    by_default = {"former": True, "values": scaled is True, "none": scaled is False or recipe.is_detectors_own}
    if by_default.get(recipe.balance):
        return None
    return {"values": True, "none": False}.get(recipe.balance, recipe.balance)


def _controller(controller: ControllerConfig) -> dict[str, Any]:
    ending = {} if controller.augment_until == 1 else {"augment_until": controller.augment_until}
    if controller.kind not in _KINDS:
        settings = to_mapping(controller.settings)
        return {"kind": controller.kind, "settings": settings, "patience": controller.patience} | ending
    return ending | {
        "kind": controller.kind,
        "schedule": _hashed(controller.schedule, _SCHEDULE),
        "plateau": _hashed(controller.plateau, _PLATEAU),
        "agent": controller.agent,
        "patience": controller.patience,
    }


def _former_agent(controller: ControllerConfig) -> str:
    """Returns what agents were known by when all had one form of action and one activation; of others everything."""
    agent = getattr(load_agent(controller.agent), "agent", None)
    later = not isinstance(agent, Agent) or any(getattr(agent, name) != default for name, default in _AGENT.items())
    if later or agent is None or is_text(controller.agent):
        return agent_fingerprint(controller.agent)
    return hashlib.sha256(b"".join(weight.tobytes() for weight, _ in agent.layers)).hexdigest()


def _knobs(knobs: Knobs) -> dict[str, float]:
    defaults = Knobs().as_dict()
    return {name: value for name, value in knobs.as_dict().items() if name in _KNOBS or value != defaults.get(name)}


def _hashed(settings: Any, always: tuple[str, ...]) -> dict[str, Any]:
    """Returns the settings that are always hashed, and of the others those that differ from their defaults."""
    values = to_mapping(settings)
    defaults = to_mapping(type(settings)())
    return {name: value for name, value in values.items() if name in always or value != defaults.get(name)}
