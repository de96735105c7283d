"""What an agent's JSON file holds, and whether it holds together.

Nothing that a file names is imported for it: a name that is none of ours has to be one that the file itself lists as
its maker's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from gymnasium.spaces import Discrete, MultiDiscrete

from mapopt.agents.network import Activation, Output
from mapopt.envs.detector_training.actions import ACTIONS, make_action
from mapopt.envs.detector_training.features import FEATURES, KNOB
from mapopt.errors import AgentError, MapoptError, unknown_name
from mapopt.settings import from_mapping
from mapopt.training import Schedule, ranges

FORMAT, VERSION = "mapopt agent", 1

LATER = ("action", "step_size", "activation", "output")
"""What the first agents lack, because all of them had the defaults."""


def check_description(path: Path, description: dict[str, Any]) -> None:
    """Raises AgentError unless a description is one of an agent that can be run here."""
    missing = {"knobs", "scale", "baseline", "layers", "training", "observation", "open_loop"} - set(description)
    if missing:
        raise AgentError(f"{path}: the description lacks {', '.join(sorted(missing))}; copy or train it again")
    own_knobs, own_features = (description.get(key, []) for key in ("own_knobs", "own_features"))
    knobs, observation = description["knobs"], description["observation"]
    unknown = [name for name in knobs if name not in ranges() and name not in own_knobs]
    if unknown:
        raise AgentError(
            f"{path}: the agent sets {', '.join(unknown)}, which this mapopt does not have: train it again"
        )
    shown = {*FEATURES, *own_features, *(KNOB + name for name in (*ranges(), *own_knobs))}
    for name in observation:
        if name not in shown:
            raise AgentError(f"{path}: {unknown_name('feature', str(name), shown)}: train the agent again")
    action, output = description.get("action", "relative"), description.get("output", "clip")
    activation = description.get("activation", "tanh")
    outputs = _outputs_of(path, description) if action in ACTIONS else None
    fitting = ("choice",) if action in ("discrete", "multi_discrete") else ("clip", "tanh")
    fits = output in get_args(Output) and (outputs is None or output in fitting)
    if activation not in get_args(Activation) or not fits:
        raise AgentError(
            f"{path}: a network with {activation} between its layers and {output} after them, for {action} actions, "
            "is none that this mapopt runs: train the agent again"
        )
    sizes = description["layers"]
    if sizes[0][1] != len(observation) or outputs not in (None, sizes[-1][0]):
        raise AgentError(f"{path}: the network's sizes are not those of its observation and knobs; train it again")


def _outputs_of(path: Path, description: dict[str, Any]) -> int:
    """Returns how many outputs a network needs for a form of action of ours."""
    try:
        form = make_action(
            description.get("action", "relative"),
            knobs=tuple(description["knobs"]),
            scale=description["scale"],
            step_size=description.get("step_size"),
            baseline=from_mapping(Schedule, description["baseline"], "baseline"),
        )
    except (MapoptError, TypeError) as error:
        raise AgentError(f"{path}: the description does not hold together ({error}); train the agent again") from None
    space = form.space_of_actions()
    if isinstance(space, Discrete):
        return int(space.n)
    return int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else len(form.knobs)
