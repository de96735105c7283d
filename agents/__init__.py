"""Agents: trained policies as controllers, their training with stable-baselines3, and the ones that are shipped."""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.agents.agent import Agent as Agent
    from mapopt.agents.agent import OwnParts as OwnParts
    from mapopt.agents.learning.progress import Progress as Progress
    from mapopt.agents.learning.seeds import train_agents as train_agents
    from mapopt.agents.learning.settings import AgentTraining as AgentTraining
    from mapopt.agents.learning.training import train_agent as train_agent
    from mapopt.agents.playing import Played as Played
    from mapopt.agents.playing import play as play
    from mapopt.agents.policy import OpenLoopController as OpenLoopController
    from mapopt.agents.policy import PolicyController as PolicyController
    from mapopt.agents.registry import AGENTS as AGENTS
    from mapopt.agents.registry import agent_choice as agent_choice
    from mapopt.agents.registry import agent_fingerprint as agent_fingerprint
    from mapopt.agents.registry import load_agent as load_agent
    from mapopt.agents.registry import make_agent_controller as make_agent_controller
    from mapopt.agents.registry import save_agent as save_agent
    from mapopt.agents.zoo import ZOO as ZOO
    from mapopt.agents.zoo import find_agent as find_agent
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "AGENTS": "mapopt.agents.registry",
            "Agent": "mapopt.agents.agent",
            "AgentTraining": "mapopt.agents.learning.settings",
            "OpenLoopController": "mapopt.agents.policy",
            "OwnParts": "mapopt.agents.agent",
            "Played": "mapopt.agents.playing",
            "PolicyController": "mapopt.agents.policy",
            "Progress": "mapopt.agents.learning.progress",
            "ZOO": "mapopt.agents.zoo",
            "agent_choice": "mapopt.agents.registry",
            "agent_fingerprint": "mapopt.agents.registry",
            "find_agent": "mapopt.agents.zoo",
            "load_agent": "mapopt.agents.registry",
            "make_agent_controller": "mapopt.agents.registry",
            "play": "mapopt.agents.playing",
            "save_agent": "mapopt.agents.registry",
            "train_agent": "mapopt.agents.learning.training",
            "train_agents": "mapopt.agents.learning.seeds",
        },
    )
