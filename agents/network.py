"""A small network in numpy: linear layers, what stands between them, and what the last numbers become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Activation = Literal["tanh", "relu"]
Output = Literal["clip", "tanh", "choice"]
"""The numbers are clipped to [-1, 1], go through tanh, or the largest of each group is chosen."""


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

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Returns the action for an observation, computed in float64: ``[n]``, or a choice, or ``[groups]`` choices."""
        values = observation.astype(np.float64)
        for index, (weight, bias) in enumerate(self.layers):
            values = weight.astype(np.float64) @ values + bias.astype(np.float64)
            if index < len(self.layers) - 1:
                values = np.tanh(values) if self.activation == "tanh" else np.maximum(values, 0.0)
        if self.output == "choice":
            return values.reshape(self.groups, -1).argmax(axis=1) if self.groups else np.asarray(values.argmax())
        return np.tanh(values) if self.output == "tanh" else np.clip(values, -1.0, 1.0)
