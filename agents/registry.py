"""Agents by name, by path, or as they are: the one way in which commands and comparisons come by a trained policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapopt import registry
from mapopt.agents.agent import Agent, OwnParts
from mapopt.agents.policy import OpenLoopController, PolicyController
from mapopt.agents.zoo import ZOO, find_agent
from mapopt.errors import AgentError, ConfigError
from mapopt.registry import Choice, Registry
from mapopt.sources import contents
from mapopt.training import Controller

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from mapopt.envs.detector_training.settings import EnvSettings

    Given = str | Path | Agent | BaseAlgorithm | Controller

_NAME = "agent"
"""Of `make_agent_controller` among the controllers."""


class Agents(Registry[Any]):
    """The shipped agents by name, and whatever else stands for an agent."""

    def __init__(self) -> None:
        super().__init__("agent", dict.fromkeys(ZOO, ""))

    def __getitem__(self, name: str) -> Agent:
        if name not in ZOO:
            raise KeyError(name)
        return Agent.load(name)

    def check_name(self, name: str) -> None:
        """Raises AgentError unless a text is a name, ``module:attribute``, or the path of a file that is there."""
        if _is_zip(name) or not registry.is_text(name):
            _file_of(name)

    def find(self, given: Given) -> Controller:
        """Returns the controller that follows an agent; see `load_agent`."""
        return load_agent(given)

    def make(self, given: Given | Choice, settings: Mapping[str, Any] | None = None) -> Controller:
        """Returns the controller that follows an agent; see `make_agent_controller`."""
        if isinstance(given, Choice):
            return make_agent_controller(**{**given.settings, **(settings or {})})
        return make_agent_controller(given, **(settings or {}))

    def choice(self, given: str | Path | Choice, settings: Mapping[str, Any] | None = None) -> Choice:
        """Returns an agent as files and worker processes know it; see `agent_choice`."""
        return agent_choice(given, **(settings or {}))


AGENTS = Agents()
"""The shipped agents by name, open to one's own."""


def load_agent(given: Given, *, own: OwnParts | None = None) -> Controller:
    """Returns the controller that follows an agent.

    Args:
        given: the name of a shipped agent; the path of one that `mapopt train-agent` or `save_agent` wrote; the path of
            a zip of stable-baselines3, **the loading of which executes code**; ``module:attribute``, which stands for
            any of these or for a function that returns one; an `Agent`; a model of stable-baselines3; or a controller.
        own: parts of your own that the agent of a name or path was trained with.

    Raises:
        AgentError: there is no such agent, or it is damaged, or nothing says what it was trained with.
        ConfigError: the module or attribute is not there, or is none of these.

    >>> type(load_agent("ppo-shapes")).__name__
    'PolicyController'
    """
    if isinstance(given, str | Path):
        if _is_zip(given):
            return PolicyController.from_sb3(given)
        if isinstance(given, str) and registry.is_text(given) and given not in ZOO and not Path(given).exists():
            part = registry.load(given, "agent")
            return load_agent(part() if callable(part) and not hasattr(part, "decide") else part, own=own)
        return PolicyController(Agent.load(given, own=own))
    if isinstance(given, Agent):
        return PolicyController(given)
    if callable(getattr(given, "decide", None)) and not isinstance(given, type):
        return given  # type: ignore[return-value]
    if hasattr(given, "policy") and hasattr(given, "predict"):
        return PolicyController.from_sb3(given)  # type: ignore[arg-type]
    raise ConfigError(
        f"an agent of type {type(given).__name__}: expected a name ({', '.join(ZOO)}), a path, module:attribute, "
        "an Agent, a model of stable-baselines3 or a controller"
    )


def make_agent_controller(agent: Given, *, open_loop: bool = False, fingerprint: str = "") -> Controller:
    """Returns the controller that follows an agent, as a comparison makes it of a `Choice`.

    Args:
        agent: as for `load_agent`.
        open_loop: replay the agent's mean actions blindly.
        fingerprint: what the agent has to be; empty takes any.

    Raises:
        AgentError: as for `load_agent`; or the agent is another one by now, or has no mean actions.
    """
    if fingerprint and agent_fingerprint(agent) != fingerprint:
        raise AgentError(f"{agent} is another agent than when this run was planned: plan it again")
    controller = load_agent(agent)
    if not open_loop:
        return controller
    inner = getattr(controller, "agent", None)
    if not isinstance(inner, Agent):
        raise AgentError(f"{agent} carries no mean actions to replay: only agents that `mapopt train-agent` wrote do")
    return OpenLoopController(inner)


def agent_choice(given: str | Path | Choice, *, open_loop: bool = False) -> Choice:
    """Returns an agent as files and worker processes know it: where it is, and what it has to be.

    Args:
        given: a name, a path or ``module:attribute``.
        open_loop: replay the agent's mean actions blindly.

    Raises:
        AgentError: there is no such agent, or it is an object, which no other process could find.
    """
    if isinstance(given, Choice):
        return given
    if not isinstance(given, str | Path):
        raise AgentError(
            f"an agent of type {type(given).__name__} was given, which no other process could find: write it with "
            "mapopt.agents.save_agent, and give the path"
        )
    settings = {"agent": str(given), "fingerprint": agent_fingerprint(given)}
    return Choice(name=_NAME, settings={**settings, "open_loop": True} if open_loop else settings)


def agent_fingerprint(given: Given) -> str:
    """Returns a hash of everything that decides what an agent does; of somebody's own part, of its module's source."""
    if isinstance(given, str | Path):
        if _is_zip(given):
            return hashlib.sha256(_file_of(given).read_bytes()).hexdigest()
        agent = getattr(load_agent(given), "agent", None)
        if isinstance(given, str) and given not in ZOO and not is_agent_file(given):
            decides = agent.fingerprint if isinstance(agent, Agent) else ""
            return hashlib.sha256(decides.encode() + _source(given, agent)).hexdigest()
        return str(getattr(agent, "fingerprint", ""))
    if isinstance(given, Agent):
        return given.fingerprint
    raise AgentError(f"an agent of type {type(given).__name__} has no fingerprint: write it with save_agent first")


def is_agent_file(given: str) -> bool:
    """Says whether a text that names an agent is the path of a file, not a shipped agent's name or module:attribute."""
    return given not in ZOO and (_is_zip(given) or not registry.is_text(given) or Path(given).exists())


def save_agent(
    agent: Agent | BaseAlgorithm, path: str | Path, *, settings: EnvSettings | Mapping[str, Any] | None = None
) -> Path:
    """Writes an agent or a model of stable-baselines3 to where `compare --agent` and `watch` find it.

    Args:
        agent: what was trained.
        path: with ``.zip`` at its end the whole model is kept, in pickles, with what it was trained with; otherwise its
            network becomes ``PATH.safetensors`` and ``PATH.json``, which execute nothing when they are loaded.
        settings: of the environment that the model was trained on, or a mapping of those that differ from their
            defaults; by default what the model's environment says.

    Returns:
        the file to name: the JSON or the zip.

    Raises:
        AgentError: nothing says what the model was trained with, or the network is none that two such files hold.
        StoreError: a file cannot be written.
    """
    path = Path(path)
    if not isinstance(agent, Agent) and not hasattr(agent, "get_env"):
        raise AgentError(
            f"an agent of type {type(agent).__name__}: expected an Agent or a model of stable-baselines3 or sb3-contrib"
        )
    if not _is_zip(path):
        written = agent if isinstance(agent, Agent) else Agent.from_sb3(agent, settings=settings)
        written.save(path)
        return path.with_suffix(".json")
    if isinstance(agent, Agent):
        raise AgentError(f"{path} is a zip, and an Agent is two other files: give a path without .zip")
    from mapopt.agents.sb3 import save_model

    save_model(agent, path, settings)
    return path


def _source(text: str, agent: Any) -> bytes:
    """Returns ``module:attribute`` with the files of it, of an agent's own parts and of what they import."""
    own = agent.own if isinstance(agent, Agent) else OwnParts()
    modules = [text.partition(":")[0]]
    for part in (*own.features, own.action):
        if isinstance(part, str):
            modules.append(part.partition(":")[0])
        elif part is not None:
            function = getattr(part, "value", part)
            modules.append(getattr(function, "__module__", type(function).__module__))
    read = dict.fromkeys(content for module in dict.fromkeys(modules) for content in contents(module))
    return text.encode() + b"".join(read)


def _file_of(given: str | Path) -> Path:
    """Returns the file of a name or path."""
    if not _is_zip(given):
        return find_agent(given)
    if not Path(given).is_file():
        raise AgentError(f"{given}: no such file; expected the zip of a model of stable-baselines3")
    return Path(given)


def _is_zip(given: str | Path) -> bool:
    return Path(given).suffix == ".zip"
