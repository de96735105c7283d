"""What an agent's JSON file holds, and whether it holds together.

Nothing that a file names is imported for it: a name that is none of ours has to be one that the file itself lists as
its maker's own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from safetensors.numpy import load

from mapopt.agents.baselines import read_baseline
from mapopt.agents.network import Activation, Cell, Output
from mapopt.envs.detector_training.actions import ACTIONS, make_action
from mapopt.envs.detector_training.features import FEATURES, KNOB
from mapopt.errors import AgentError, ConfigError, MapoptError, shown, unknown_name
from mapopt.files import read_record
from mapopt.former_names import translate
from mapopt.paths import read_bytes
from mapopt.settings import from_mapping
from mapopt.training import ranges

FORMAT, VERSION = "mapopt agent", 2

UNSEALED = (1,)
"""Earlier versions, which had no checksums and are still read."""

REMEDY = "Copy the agent again, or train it again."


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an agent's JSON file says; the fields with defaults are what the first agents lack."""

    format: str
    version: int
    observation: tuple[str, ...]
    knobs: tuple[str, ...]
    own_knobs: tuple[str, ...] = ()
    own_features: tuple[str, ...] = ()
    action: str = "relative"
    scale: float | None
    step_size: float | None = None
    baseline: dict[str, Any]
    open_loop: tuple[tuple[float, ...], ...]
    layers: tuple[tuple[int, int], ...]
    activation: str = "tanh"
    output: str = "clip"
    cells: tuple[tuple[int, int], ...] = ()
    """Width and inputs of every LSTM cell."""
    training: dict[str, Any]
    weights: str = ""
    """SHA-256 of the file with the weights; empty in files of version 1."""
    observation_version: int = 1
    """Of the first agents; what they are shown is said by name since."""

    def __post_init__(self) -> None:
        sizes = self.layers
        if not sizes or min(min(shape) for shape in sizes) < 1 or len(sizes) > MAX_LAYERS:
            raise ConfigError(f"layers are {shown(sizes)}: expected 1 to {MAX_LAYERS} sizes of at least 1.")
        if any(after[1] != before[0] for before, after in pairwise(sizes)):
            raise ConfigError(f"layers are {shown(sizes)}: expected each to take what the one before it gives.")
        if sum(rows * columns for rows, columns in sizes) > MAX_WEIGHTS:
            raise ConfigError(f"layers are {shown(sizes)}: expected at most {MAX_WEIGHTS:,} weights.")
        cells = self.cells
        if len(cells) > MAX_LAYERS or any(min(cell) < 1 for cell in cells):
            raise ConfigError(f"cells are {shown(cells)}: expected at most {MAX_LAYERS} sizes of at least 1.")
        if any(after[1] != before[0] for before, after in pairwise([*cells, sizes[0]] if cells else ())):
            raise ConfigError(f"cells are {shown(cells)}: expected each to take what the one before it gives.")
        if sum(4 * width * (inputs + width) for width, inputs in cells) > MAX_WEIGHTS:
            raise ConfigError(f"cells are {shown(cells)}: expected at most {MAX_WEIGHTS:,} weights.")
        if any(len(action) != len(self.knobs) for action in self.open_loop):
            raise ConfigError(f"open_loop: expected {len(self.knobs)} numbers a round, one for every knob.")
        if not all(math.isfinite(value) for action in self.open_loop for value in action):
            raise ConfigError("open_loop: expected finite numbers.")


def read_description(path: Path) -> Description:
    """Reads the JSON file of an agent, and checks that the agent can be run here.

    Raises:
        AgentError: the file is missing, damaged, of another version, or says what does not hold together.
    """
    record = read_record(
        path,
        what="an agent that `mapopt train-agent` wrote",
        format=FORMAT,
        version=VERSION,
        unsealed=UNSEALED,
        remedy=REMEDY,
        error=AgentError,
    )
    try:
        described: Description = from_mapping(Description, translate(record, "agent"), str(path))
    except ConfigError as error:
        raise AgentError(f"{error} {REMEDY}") from None
    check_description(path, described)
    return described


Layers = tuple[tuple[np.ndarray, np.ndarray], ...]


def named_tensors(layers: Layers, cells: Sequence[Cell]) -> dict[str, np.ndarray]:
    """Returns the numbers of a network as float32 by the names that they have in its file."""
    named = {
        f"{index}.{name}": part for index, layer in enumerate(layers) for name, part in zip(_LAYER, layer, strict=True)
    }
    named |= {
        f"cell.{index}.{name}": part for index, cell in enumerate(cells) for name, part in zip(_CELL, cell, strict=True)
    }
    return {name: np.ascontiguousarray(part, dtype=np.float32) for name, part in named.items()}


def read_tensors(path: Path, description: Description) -> tuple[Layers, tuple[Cell, ...]]:
    """Reads the weights of an agent.

    Args:
        path: of the safetensors file.
        description: that stands beside it.

    Returns:
        weight ``[out, in]`` and bias ``[out]`` of each layer, and the cells.

    Raises:
        AgentError: the file is missing, damaged, or not what the description says.
    """
    expected = shapes_of(description.layers, description.cells)
    size = sum(4 * math.prod(shape) for shape in expected.values())
    what = "the weights of an agent, which is two files"
    content = read_bytes(path, what=what, limit=size + MAX_HEADER, error=AgentError)
    if description.version not in UNSEALED and hashlib.sha256(content).hexdigest() != description.weights:
        raise AgentError(f"{path}: is damaged, or not the file that the description was written with. {REMEDY}")
    try:
        tensors = load(content)
    except Exception as error:
        # Whatever bytes a damaged file has: errors of the format, of numpy's types and of JSON.
        raise AgentError(f"{path}: is damaged ({type(error).__name__}). {REMEDY}") from None
    for name in dict.fromkeys([*expected, *tensors]):
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != expected.get(name) or tensor.dtype != np.float32:
            raise AgentError(f"{path}: {shown(name)} of the weights is not what the description says. {REMEDY}")
        if not np.isfinite(tensor).all():
            raise AgentError(f"{path}: {shown(name)} of the weights is not finite. {REMEDY}")
    return network_parts(tensors, len(description.layers), len(description.cells))


def network_parts(tensors: Mapping[str, np.ndarray], layers: int, cells: int) -> tuple[Layers, tuple[Cell, ...]]:
    """Returns the layers and cells whose numbers `named_tensors` named."""
    return (
        tuple((tensors[f"{index}.weight"], tensors[f"{index}.bias"]) for index in range(layers)),
        tuple(Cell(*(tensors[f"cell.{index}.{name}"] for name in _CELL)) for index in range(cells)),
    )


def shapes_of(layers: Sequence[tuple[int, int]], cells: Sequence[tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of the numbers of a network, by the sizes that its description has."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (rows, columns) in enumerate(layers):
        shapes |= {f"{index}.weight": (rows, columns), f"{index}.bias": (rows,)}
    for index, (width, inputs) in enumerate(cells):
        gates = 4 * width
        each = zip(_CELL, ((gates, inputs), (gates, width), (gates,)), strict=True)
        shapes |= {f"cell.{index}.{name}": shape for name, shape in each}
    return shapes


_LAYER, _CELL = ("weight", "bias"), Cell._fields

MAX_LAYERS, MAX_WEIGHTS, MAX_HEADER = 64, 10**8, 10**6
"""Layers and weights of an agent, and bytes of its file of weights beside them."""


def check_description(path: Path, description: Description) -> None:
    """Raises AgentError unless an agent that is described so can be run here."""
    own_knobs, own_features = description.own_knobs, description.own_features
    knobs, observation = description.knobs, description.observation
    unknown = [name for name in knobs if name not in ranges() and name not in own_knobs]
    if unknown:
        raise AgentError(
            f"{path}: the agent sets {', '.join(unknown)[:80]}, which this mapopt does not have: train it again"
        )
    shown = {*FEATURES, *own_features, *(KNOB + name for name in (*ranges(), *own_knobs))}
    for name in observation:
        if name not in shown:
            raise AgentError(f"{path}: {unknown_name('feature', str(name), shown)}: train the agent again")
    action, output, activation = description.action, description.output, description.activation
    outputs = _outputs_of(path, description) if action in ACTIONS else None
    fitting = ("choice",) if action in ("discrete", "multi_discrete") else ("clip", "tanh")
    fits = output in get_args(Output) and (outputs is None or output in fitting)
    if activation not in get_args(Activation) or not fits:
        raise AgentError(
            f"{path}: a network with {activation[:20]} between its layers and {output[:20]} after them, for "
            f"{action[:40]} actions, is none that this mapopt runs: train the agent again"
        )
    sizes = description.layers
    first = description.cells[0] if description.cells else sizes[0]
    if first[1] != len(observation) or outputs not in (None, sizes[-1][0]):
        raise AgentError(f"{path}: the network's sizes are not those of its observation and knobs; train it again")


def _outputs_of(path: Path, description: Description) -> int:
    """Returns how many outputs a network needs for a form of action of ours."""
    try:
        form = make_action(
            description.action,
            knobs=description.knobs,
            scale=description.scale,
            step_size=description.step_size,
            baseline=read_baseline(description.baseline, "baseline"),
        )
    except (MapoptError, TypeError) as error:
        raise AgentError(f"{path}: the description does not hold together ({error}); train the agent again") from None
    space = form.space_of_actions()
    if isinstance(space, Discrete):
        return int(space.n)
    return int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else len(form.knobs)
