"""Wrappers that make an action space smaller: some of its entries held, or all of them cut into levels.

What a wrapper does to an action is a small object of its own, so that the wrapper of one environment and that of many
do the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space

from mapopt.envs.checks import read_array
from mapopt.envs.wrappers.forms import WrappedAction, wrapped_form
from mapopt.envs.wrappers.inside import action_names, baseline_action
from mapopt.errors import ConfigError, unknown_name

LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""What `Discretize` cuts an entry into, unless other levels are given."""

Choices = Literal["each", "one", "all"]

_MAX_CHOICES = 4096
"""Choices that a learner can still tell apart, each having an output of its own."""


class FreezeKnobs(gymnasium.ActionWrapper[np.ndarray, np.ndarray, np.ndarray], RecordConstructorArgs):
    """Holds chosen knobs and takes their entries out of the action.

    Where an action is the baseline, as where actions are relative, a knob that is held by its name alone is what the
    baseline has in every round. Where they are absolute none is, and a value has to be given:
    ``KnobSpace(["augment"]).to_unit(Knobs(augment=0.3))[0]``.

    Args:
        env: with actions ``Box [n]`` and `action_names`: both environments of ours have them.
        held: names of the knobs to hold where the baseline has them, or each one's entry of the action, in the range
            of the box.

    Raises:
        ConfigError: the actions are of another kind or have no names, a knob is not among them, none would be left,
            there is no baseline to hold it at, or a value lies outside the box.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/DetectorTraining-v0", knobs=("lr", "augment", "assign_iou"))
    >>> FreezeKnobs(env, ("augment",)).action_space
    Box(-1.0, 1.0, (2,), float32)
    """

    def __init__(self, env: gymnasium.Env, held: Sequence[str] | Mapping[str, float]) -> None:
        RecordConstructorArgs.__init__(self, held=held)
        gymnasium.ActionWrapper.__init__(self, env)
        self._freezer = _Freezer(env.action_space, action_names(env), held, baseline_action(env))
        self.action_space = self._freezer.space

    @property
    def action_names(self) -> tuple[str, ...]:
        """The knobs that are left."""
        return self._freezer.names

    @property
    def baseline_action(self) -> np.ndarray | None:
        """The action that leaves the knobs that are left where the baseline has them; None where there is none."""
        return self._freezer.baseline

    @property
    def action_form(self) -> WrappedAction:
        """What an action does to the knobs, in an environment that trains a detector."""
        return wrapped_form(self.env, self._freezer)

    def action(self, action: np.ndarray) -> np.ndarray:
        """Puts the held entries back: ``[m]`` to ``[n]``."""
        return self._freezer.apply(read_array(action))


class VectorFreezeKnobs(VectorActionWrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """`FreezeKnobs` on every lane of a vector environment.

    Args:
        env: with actions ``Box [n]`` in every lane.
        held: as in `FreezeKnobs`.

    Raises:
        ConfigError: as in `FreezeKnobs`.
    """

    def __init__(self, env: VectorEnv, held: Sequence[str] | Mapping[str, float]) -> None:
        super().__init__(env)
        self._freezer = _Freezer(env.single_action_space, action_names(env), held, baseline_action(env))
        self.single_action_space = self._freezer.space
        self.action_space = batch_space(self._freezer.space, env.num_envs)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The knobs that are left."""
        return self._freezer.names

    @property
    def baseline_action(self) -> np.ndarray | None:
        """As in `FreezeKnobs`."""
        return self._freezer.baseline

    @property
    def action_form(self) -> WrappedAction:
        """What an action does to the knobs, in an environment that trains a detector."""
        return wrapped_form(self.env, self._freezer)

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """Puts the held entries back: ``[lanes, m]`` to ``[lanes, n]``."""
        return self._freezer.apply(read_array(actions))


class Discretize(gymnasium.ActionWrapper[np.ndarray, Any, np.ndarray], RecordConstructorArgs):
    """Lets a learner of choices, such as DQN, act in a box.

    Args:
        env: with actions ``Box [n]``.
        levels: the values an entry may have.
        choices: "each": ``MultiDiscrete([levels] * n)``, the level of every entry.
            "one": ``Discrete(1 + n * levels)``: 0 leaves all entries at rest; 1 + i * levels + j sets entry i to level
            j and leaves the others at rest.
            "all": ``Discrete(levels ** n)``, every combination, the last entry changing fastest.
        rest: where entries are that a choice of "one" leaves alone, ``[n]`` or one for all. By default where the
            baseline has them; where no action is the baseline, as where they are absolute, give what is default there.

    Raises:
        ConfigError: the actions are of another kind, a level or the rest lies outside the box, a level comes twice,
            there would be more than 4096 combinations, or a rest is missing or given to choices that have none.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/DetectorTraining-v0", knobs=("lr", "augment"))
    >>> few = Discretize(env, levels=(-1.0, 0.0, 1.0), choices="all")
    >>> few.action_space, few.action(1)
    (Discrete(9), array([-1.,  0.], dtype=float32))
    """

    def __init__(
        self,
        env: gymnasium.Env,
        levels: Sequence[float] = LEVELS,
        *,
        choices: Choices = "one",
        rest: float | Sequence[float] | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(self, levels=levels, choices=choices, rest=rest)
        gymnasium.ActionWrapper.__init__(self, env)
        self._table = _Table(env.action_space, levels, choices, rest, baseline_action(env))
        self.action_space = self._table.space

    @property
    def baseline_action(self) -> Any:
        """The choice that is the baseline; None where there is none, or the levels leave it out."""
        return self._table.baseline

    @property
    def action_form(self) -> WrappedAction:
        """What an action does to the knobs, in an environment that trains a detector."""
        return wrapped_form(self.env, self._table)

    def action(self, action: Any) -> np.ndarray:
        """Returns the entries ``[n]`` that a choice stands for."""
        return self._table.apply(read_array(action))


class VectorDiscretize(VectorActionWrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """`Discretize` on every lane of a vector environment.

    Args:
        env: with actions ``Box [n]`` in every lane.
        levels: as in `Discretize`.
        choices: as in `Discretize`.
        rest: as in `Discretize`.

    Raises:
        ConfigError: as in `Discretize`.
    """

    def __init__(
        self,
        env: VectorEnv,
        levels: Sequence[float] = LEVELS,
        *,
        choices: Choices = "one",
        rest: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(env)
        self._table = _Table(env.single_action_space, levels, choices, rest, baseline_action(env))
        self.single_action_space = self._table.space
        self.action_space = batch_space(self._table.space, env.num_envs)

    @property
    def baseline_action(self) -> Any:
        """As in `Discretize`."""
        return self._table.baseline

    @property
    def action_form(self) -> WrappedAction:
        """What an action does to the knobs, in an environment that trains a detector."""
        return wrapped_form(self.env, self._table)

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """Returns the entries ``[lanes, n]`` that choices stand for."""
        return self._table.apply(read_array(actions))


class _Freezer:
    """Puts held entries between those of a smaller action."""

    def __init__(
        self, space: Space, names: Sequence[str], held: Sequence[str] | Mapping[str, float], baseline: Any
    ) -> None:
        box = _box(space, "FreezeKnobs", "make the environment with fewer knobs")
        if isinstance(held, str):
            raise ConfigError(f"held is the text {held!r}: expected the names of knobs, such as ({held!r},)")
        default = None if baseline is None else np.asarray(baseline, dtype=box.dtype)
        if len(names) != len(box.low):
            raise ConfigError(
                f"an action has {len(box.low)} entries and {len(names)} names: expected one name for each"
            )
        resting = dict.fromkeys(names, 0.0) if default is None else dict(zip(names, default.tolist(), strict=True))
        values = dict(held) if isinstance(held, Mapping) else {name: resting.get(name, 0.0) for name in held}
        if not values:
            raise ConfigError("no knob to hold was named: name at least one of " + ", ".join(names))
        for name in values:
            if name not in names:
                raise ConfigError(unknown_name("knob", name, names))
        if default is None and not isinstance(held, Mapping):
            raise ConfigError(
                "no action is the baseline here, as where actions are absolute: "
                f"give each knob's entry, such as {{'{next(iter(values))}': 0.5}}"
            )
        self.names = tuple(name for name in names if name not in values)
        if not self.names:
            raise ConfigError(f"all knobs would be held ({', '.join(names)}): leave at least one to turn")
        self._left = np.array([place for place, name in enumerate(names) if name in self.names])
        self._full = np.array([values.get(name, 0.0) for name in names], dtype=box.dtype)
        for name, value, low, high in zip(names, self._full, box.low, box.high, strict=True):
            if not low <= value <= high:
                raise ConfigError(f"{name} would be held at {value:g}: expected {low:g} to {high:g}, as an action has")
        self.space = Box(box.low[self._left], box.high[self._left], dtype=box.dtype.type)
        self.baseline = None if default is None else default[self._left]

    def apply(self, actions: np.ndarray) -> np.ndarray:
        """Returns ``[..., n]`` of ``[..., m]``."""
        if actions.shape[-1:] != self._left.shape or actions.dtype.kind not in "fiu":
            raise ConfigError(f"an action of shape {actions.shape}: expected {len(self._left)} entries, {self.names}")
        full = np.broadcast_to(self._full, (*actions.shape[:-1], len(self._full))).copy()
        full[..., self._left] = actions
        return full


class _Table:
    """What choices stand for."""

    def __init__(
        self,
        space: Space,
        levels: Sequence[float],
        choices: Choices,
        rest: float | Sequence[float] | None,
        baseline: Any,
    ) -> None:
        box = _box(space, "Discretize", "it is discrete already, or needs another wrapper")
        entries = len(box.low)
        values = np.array(levels, dtype=box.dtype)
        if len(set(values.tolist())) < max(2, len(values)):
            raise ConfigError(f"levels are {list(levels)}: expected two or more, all different")
        for value in values:
            if not (np.isfinite(value) and (box.low <= value).all() and (value <= box.high).all()):
                raise ConfigError(
                    f"level {value:g} lies outside of an action, which is {box.low.max():g} to {box.high.min():g}"
                )
        self._values, self._table = values, np.zeros((0, entries), dtype=box.dtype)
        self.names: tuple[str, ...] = ()
        default = None if baseline is None else np.asarray(baseline, dtype=box.dtype)
        if rest is not None and choices in ("each", "all"):
            raise ConfigError(f"rest was given for choices '{choices}', which leave no entry at rest: leave it out")
        self.baseline: Any = None
        if choices == "each":
            self.space: Space = MultiDiscrete([len(values)] * entries)
            if default is not None and np.isin(default, values).all():
                self.baseline = (default[:, None] == values).argmax(axis=1)
            return
        if choices == "one":
            if rest is None and default is None:
                raise ConfigError(
                    "no action is the baseline here, so nothing says where entries are that a choice leaves alone: "
                    "give rest, or choose 'each' or 'all'"
                )
            still = np.asarray(default if rest is None else rest, dtype=box.dtype)
            if still.shape not in ((), (entries,)) or not box.contains(np.broadcast_to(still, entries)):
                raise ConfigError(f"rest is {rest}: expected a number in the box {box}, or {entries} of them")
            self._table = np.broadcast_to(still, (1 + entries * len(values), entries)).copy()
            for entry in range(entries):
                self._table[1 + entry * len(values) : 1 + (entry + 1) * len(values), entry] = values
        elif choices == "all":
            if len(values) ** entries > _MAX_CHOICES:
                raise ConfigError(
                    f"{len(values)} levels of {entries} entries have {len(values) ** entries} combinations, "
                    f"more than {_MAX_CHOICES}: choose 'one' or 'each', or fewer levels"
                )
            grid = np.meshgrid(*[values] * entries, indexing="ij")
            self._table = np.stack([axis.ravel() for axis in grid], axis=-1)
        else:
            raise ConfigError(unknown_name("way of choosing", choices, ("each", "one", "all")))
        self.space = Discrete(len(self._table))
        same = np.zeros(len(self._table), dtype=bool) if default is None else (self._table == default).all(axis=1)
        if same.any():
            self.baseline = np.int64(same.argmax())

    def apply(self, actions: np.ndarray) -> np.ndarray:
        """Returns ``[..., n]`` of choices ``[...]``, or of levels' places ``[..., n]``."""
        rows = self._table if len(self._table) else self._values
        if not np.issubdtype(actions.dtype, np.integer) or (actions < 0).any() or (actions >= len(rows)).any():
            raise ConfigError(f"choice {actions.tolist()}: expected whole numbers from 0 to {len(rows) - 1}")
        return rows[actions]


def _box(space: Space, wrapper: str, advice: str) -> Box:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ConfigError(f"{wrapper} was put around actions {space}: expected a Box of one dimension; {advice}")
    return space
