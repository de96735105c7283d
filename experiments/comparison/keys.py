"""The key of a run: a hash of everything that decides its numbers but its seed.

A stored run counts as done as long as its key is the same, so a key must not change when the code gets another setting:
what came after runs were first stored is hashed only where it differs from its default, and everything is hashed under
the names of that time. A part of the user's own counts with the source of its module: an edited loss is another run.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapopt.agents import Agent, agent_fingerprint, load_agent
from mapopt.experiments.comparison.data import fingerprints
from mapopt.registry import is_text, load
from mapopt.settings import to_mapping
from mapopt.training import Knobs

if TYPE_CHECKING:
    from mapopt.experiments.comparison.config import ControllerConfig, TaskConfig
    from mapopt.training import Budget, Recipe

_STORED = 1
"""Goes up when a change in the code changes the numbers of runs."""

_TASK = ("data", "scenes", "images", "size", "invalid")
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
_AGENT = {"action": "relative", "step_size": None, "activation": "tanh", "output": "clip"}
_KINDS = ("constant", "schedule", "plateau", "agent", "replay")
"""What is always hashed: the settings, agents and kinds of controllers that there were when runs were first stored."""


def run_key(
    *, task: TaskConfig, recipe: Recipe, knobs: Knobs, controller: ControllerConfig, budget: Budget, select: str
) -> str:
    """Returns the hash of everything that decides the numbers of a run but its seed.

    Raises:
        ConfigError: a part of the user's own cannot be imported.
        DataError: the task's folder of images cannot be read.
    """
    content: dict[str, Any] = {
        "stored": _STORED,
        "budget": {"images": budget.images, "rounds": budget.rounds},
        "task": _task(task),
        "recipe": _hashed(recipe, _RECIPE),
        "knobs": _knobs(knobs),
        "controller": _controller(controller),
        "select": select,
    }
    sources = {text: source_hash(text) for text in own_parts(recipe, controller)}
    if sources:
        content["sources"] = sources
    if controller.runs_agent:
        content["agent"] = _agent(controller)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def own_parts(recipe: Recipe, controller: ControllerConfig) -> list[str]:
    """Returns the parts of a run that are not mapopt's, as ``module:attribute``."""
    values = [value for value in to_mapping(recipe).values() if isinstance(value, str)]
    return sorted({text for text in (*values, *recipe.auxiliary, controller.kind) if is_text(text)})


def source_hash(text: str) -> str:
    """Returns a hash of the file that a part's module was read from; empty for a module without one.

    Args:
        text: ``module:attribute``.

    Raises:
        ConfigError: it cannot be imported.
    """
    load(text)
    module = sys.modules.get(text.partition(":")[0], sys.modules["__main__"])
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


def _task(task: TaskConfig) -> dict[str, Any]:
    content = _hashed(task, _TASK)
    content["scenes"] = _hashed(task.scenes, _SCENES)
    content["scenes"]["colour"] = content["scenes"].pop("color")
    if task.data is not None:
        # The folder may stand elsewhere tomorrow; what is in it decides.
        content["data"] = fingerprints(task)
    return content


def _controller(controller: ControllerConfig) -> dict[str, Any]:
    if controller.kind not in _KINDS:
        return {"kind": controller.kind, "settings": to_mapping(controller.settings), "patience": controller.patience}
    return {
        "kind": controller.kind,
        "schedule": _hashed(controller.schedule, _SCHEDULE),
        "plateau": _hashed(controller.plateau, _PLATEAU),
        "agent": controller.agent,
        "patience": controller.patience,
    }


def _agent(controller: ControllerConfig) -> str:
    agent = getattr(load_agent(controller.agent), "agent", None)
    later = not isinstance(agent, Agent) or any(getattr(agent, name) != default for name, default in _AGENT.items())
    if later or agent is None or is_text(controller.agent):
        return agent_fingerprint(controller.agent)
    # What agents were known by when all had one form of action and one activation.
    return hashlib.sha256(b"".join(weight.tobytes() for weight, _ in agent.layers)).hexdigest()


def _knobs(knobs: Knobs) -> dict[str, float]:
    defaults = Knobs().as_dict()
    return {name: value for name, value in knobs.as_dict().items() if name in _KNOBS or value != defaults.get(name)}


def _hashed(settings: Any, always: tuple[str, ...]) -> dict[str, Any]:
    """Returns the settings that are always hashed, and of the others those that differ from their defaults."""
    values = to_mapping(settings)
    defaults = to_mapping(type(settings)())
    return {name: value for name, value in values.items() if name in always or value != defaults.get(name)}
