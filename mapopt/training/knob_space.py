"""A choice of knobs as a box: what an agent's action and a search's setting are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mapopt.errors import ConfigError, unknown_name
from mapopt.training.knobs import Knobs, Range, ranges


class KnobSpace:
    """A choice of knobs as a box ``[-1, 1]^n``: an action space, or a search space.

    Args:
        names: of the knobs.
        known: name -> range of all knobs there are, as `mapopt.training.Task.ranges`; by default of ours.

    >>> space = KnobSpace(["momentum"])
    >>> space.from_unit([0.0], Knobs()).momentum
    0.495
    """

    def __init__(self, names: Sequence[str], known: Mapping[str, Range] | None = None) -> None:
        known = ranges() if known is None else known
        if not names:
            raise ConfigError("no knob was chosen: name at least one of " + ", ".join(known))
        for name in names:
            if name not in known:
                raise ConfigError(unknown_name("knob", name, known))
        if len(set(names)) != len(names):
            raise ConfigError(f"a knob is named twice in {', '.join(names)}: name each once")
        self.names = tuple(names)
        self.ranges = {name: known[name] for name in names}

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnobSpace) and self.names == other.names and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"KnobSpace({list(self.names)})"

    def to_unit(self, knobs: Knobs) -> np.ndarray:
        """Returns float64 ``[n]``, each chosen knob on its own scale."""
        return np.array([bounds.to_unit(knobs.get(name)) for name, bounds in self.ranges.items()])

    def from_unit(self, units: Sequence[float] | np.ndarray, base: Knobs) -> Knobs:
        """Returns `base` with the chosen knobs set from ``[n]`` numbers in [-1, 1]."""
        self._check_length(units)
        chosen = {
            name: bounds.from_unit(float(unit)) for (name, bounds), unit in zip(self.ranges.items(), units, strict=True)
        }
        return base.replace(**chosen)

    def shift(self, offsets: Sequence[float] | np.ndarray, base: Knobs, *, scale: float) -> Knobs:
        """Moves the chosen knobs away from `base`; zero offsets return `base` itself, bit for bit.

        Args:
            offsets: ``[n]`` numbers in [-1, 1].
            base: where to start from.
            scale: what an offset of 1 means: a factor of ``scale`` on a logarithmic knob, and on a linear one a
                move by ``log10(scale) / 2`` of its range.

        Raises:
            ConfigError: a knob is off that would be multiplied.
        """
        self._check_length(offsets)
        changes: dict[str, float] = {}
        for (name, bounds), offset in zip(self.ranges.items(), offsets, strict=True):
            value, move = base.get(name), min(max(float(offset), -1.0), 1.0)
            if move == 0.0:
                continue
            if bounds.log and value == 0.0:
                raise ConfigError(
                    f"knob {name} is 0, which is off, and was to be multiplied: start from a value above 0, or set it "
                    "outright (absolute actions)"
                )
            if bounds.log:
                changes[name] = bounds.clip(value * scale**move)
            else:
                changes[name] = bounds.clip(value + move * math.log10(scale) / 2 * (bounds.high - bounds.low))
        return base.replace(**changes) if changes else base

    def _check_length(self, numbers: Sequence[float] | np.ndarray) -> None:
        if len(numbers) != len(self.names):
            raise ConfigError(f"{len(numbers)} numbers were given for the {len(self.names)} knobs {list(self.names)}")
