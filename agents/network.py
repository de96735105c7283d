"""A small network in numpy: LSTM cells where it has a memory, linear layers, and what the last numbers become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Activation = Literal["tanh", "relu"]
Output = Literal["clip", "tanh", "choice"]
"""The numbers are clipped to [-1, 1], go through tanh, or the largest of each group is chosen."""


class Cell(NamedTuple):
    """An LSTM cell of h numbers: the gates are input, forget, candidate and output, in the order of torch."""

    inputs: np.ndarray
    """``[4 h, in]``"""
    hidden: np.ndarray
    """``[4 h, h]``"""
    bias: np.ndarray
    """``[4 h]``"""


State = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Of every cell what it gave last and what it keeps, ``[h]`` each; empty where an episode begins."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network from an observation to an action."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Weight ``[out, in]`` and bias ``[out]`` of each layer."""
    activation: Activation = "tanh"
    """What stands between the layers."""
    output: Output = "clip"
    """What the last layer's numbers become."""
    groups: int = 0
    """Into how many equal groups the outputs fall, of each of which one is chosen; 0 chooses one of all."""
    cells: tuple[Cell, ...] = ()
    """Before the layers, one after the other; without one the network has no memory."""

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Returns the action for an observation, computed in float64: ``[n]``, or a choice, or ``[groups]`` choices."""
        return self.step(observation, ())[0]

    def step(self, observation: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Returns the action for an observation, and the state of the cells after it.

        Args:
            observation: ``[in]``.
            state: of the cells after the observation before it; empty where an episode begins.
        """
        values, after = observation.astype(np.float64), []
        for index, cell in enumerate(self.cells):
            width = cell.hidden.shape[1]
            last, kept = state[index] if state else (np.zeros(width), np.zeros(width))
            values, kept = _through(cell, values, last, kept)
            after.append((values, kept))
        for index, (weight, bias) in enumerate(self.layers):
            values = weight.astype(np.float64) @ values + bias.astype(np.float64)
            if index < len(self.layers) - 1:
                values = np.tanh(values) if self.activation == "tanh" else np.maximum(values, 0.0)
        return self._action(values), tuple(after)

    def _action(self, values: np.ndarray) -> np.ndarray:
        if self.output == "choice":
            return values.reshape(self.groups, -1).argmax(axis=1) if self.groups else np.asarray(values.argmax())
        return np.tanh(values) if self.output == "tanh" else np.clip(values, -1.0, 1.0)


def _through(cell: Cell, values: np.ndarray, last: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what an LSTM cell gives and what it keeps.

    Reference: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 1997, with the forget gate of
    Gers et al., 2000, as `torch.nn.LSTM` has it.
    """
    gates = cell.inputs.astype(np.float64) @ values + cell.hidden.astype(np.float64) @ last + cell.bias
    enter, stay, candidate, give = np.split(gates, 4)
    kept = _sigmoid(stay) * kept + _sigmoid(enter) * np.tanh(candidate)
    return _sigmoid(give) * np.tanh(kept), kept


def _sigmoid(values: np.ndarray) -> np.ndarray:
    # By tanh, which has no overflow.
    return 0.5 * (1.0 + np.tanh(0.5 * values))
