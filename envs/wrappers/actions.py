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

from mapopt.envs.actions import RelativeAction
from mapopt.errors import ConfigError, unknown_name

LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""What `Discretize` cuts an entry into, unless told otherwise."""

Choices = Literal["each", "one", "all"]

_MOST = 4096
"""Choices that a learner can still tell apart, each having an output of its own."""


class FreezeKnobs(gymnasium.ActionWrapper[np.ndarray, np.ndarray, np.ndarray], RecordConstructorArgs):
    """Holds chosen knobs and takes their entries out of the action.

    Where actions are relative, a knob held at 0 is what the baseline has in every round. Where they are absolute there
    is no such entry, and a value has to be given: ``KnobSpace(["augment"]).to_unit(Knobs(augment=0.3))[0]``.

    Args:
        env: with actions ``Box [n]``, one entry per knob.
        held: names of the knobs to hold at 0, or each one's entry of the action, in the range of the box.

    Raises:
        ConfigError: the actions are of another kind, a knob is not among them, none would be left to turn, or a value
            lies outside the box.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/DetectorTraining-v0", knobs=("lr", "augment", "assign_iou"))
    >>> FreezeKnobs(env, ("augment",)).action_space
    Box(-1.0, 1.0, (2,), float32)
    """

    def __init__(self, env: gymnasium.Env, held: Sequence[str] | Mapping[str, float]) -> None:
        RecordConstructorArgs.__init__(self, held=held)
        gymnasium.ActionWrapper.__init__(self, env)
        self._freezer = _Freezer(env.action_space, _names(env), held, relative=_is_relative(env))
        self.action_space = self._freezer.space

    @property
    def knobs(self) -> tuple[str, ...]:
        """The knobs that are left to turn."""
        return self._freezer.knobs

    def action(self, action: np.ndarray) -> np.ndarray:
        """Puts the held entries back: ``[m]`` to ``[n]``."""
        return self._freezer.fill(np.asarray(action))


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
        self._freezer = _Freezer(env.single_action_space, _names(env), held, relative=_is_relative(env))
        self.single_action_space = self._freezer.space
        self.action_space = batch_space(self._freezer.space, env.num_envs)

    @property
    def knobs(self) -> tuple[str, ...]:
        """The knobs that are left to turn."""
        return self._freezer.knobs

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """Puts the held entries back: ``[lanes, m]`` to ``[lanes, n]``."""
        return self._freezer.fill(np.asarray(actions))


class Discretize(gymnasium.ActionWrapper[np.ndarray, Any, np.ndarray], RecordConstructorArgs):
    """Lets a learner of choices, such as DQN, act in a box.

    Args:
        env: with actions ``Box [n]``.
        levels: the values an entry may have.
        choices: "each": ``MultiDiscrete([levels] * n)``, the level of every entry.
            "one": ``Discrete(1 + n * levels)``: 0 leaves all entries at rest; 1 + i * levels + j sets entry i to level
            j and leaves the others at rest.
            "all": ``Discrete(levels ** n)``, every combination, the last entry changing fastest.
        rest: where entries are that a choice of "one" leaves alone, ``[n]`` or one for all. By default 0, which is the
            baseline where actions are relative; where they are absolute, give what is usual.

    Raises:
        ConfigError: the actions are of another kind, a level or the rest lies outside the box, a level comes twice, or
            there would be more than 4096 combinations.

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
        rest: float | Sequence[float] = 0.0,
    ) -> None:
        RecordConstructorArgs.__init__(self, levels=levels, choices=choices, rest=rest)
        gymnasium.ActionWrapper.__init__(self, env)
        self._table = _Table(env.action_space, levels, choices, rest)
        self.action_space = self._table.space

    def action(self, action: Any) -> np.ndarray:
        """Returns the entries ``[n]`` that a choice stands for."""
        return self._table.look_up(np.asarray(action))


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
        rest: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(env)
        self._table = _Table(env.single_action_space, levels, choices, rest)
        self.single_action_space = self._table.space
        self.action_space = batch_space(self._table.space, env.num_envs)

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """Returns the entries ``[lanes, n]`` that choices stand for."""
        return self._table.look_up(np.asarray(actions))


class _Freezer:
    """Puts held entries between those of a smaller action."""

    def __init__(
        self, space: Space, names: Sequence[str], held: Sequence[str] | Mapping[str, float], *, relative: bool
    ) -> None:
        box = _box(space, "FreezeKnobs", "make the environment with fewer knobs")
        if isinstance(held, str):
            raise ConfigError(f"held is the text {held!r}: expected the names of knobs, such as ({held!r},)")
        values = dict(held) if isinstance(held, Mapping) else dict.fromkeys(held, 0.0)
        if not values:
            raise ConfigError("no knob to hold was named: name at least one of " + ", ".join(names))
        for name in values:
            if name not in names:
                raise ConfigError(unknown_name("knob", name, names))
        if not relative and not isinstance(held, Mapping):
            raise ConfigError(
                "actions are absolute here, and none of them is the baseline: "
                f"give each knob's entry, such as {{'{next(iter(values))}': 0.5}}"
            )
        self.knobs = tuple(name for name in names if name not in values)
        if not self.knobs:
            raise ConfigError(f"all knobs would be held ({', '.join(names)}): leave at least one to turn")
        self._left = np.array([place for place, name in enumerate(names) if name in self.knobs])
        self._full = np.array([values.get(name, 0.0) for name in names], dtype=box.dtype)
        for name, value, low, high in zip(names, self._full, box.low, box.high, strict=True):
            if not low <= value <= high:
                raise ConfigError(f"{name} would be held at {value:g}: expected {low:g} to {high:g}, as an action has")
        self.space = Box(box.low[self._left], box.high[self._left], dtype=box.dtype.type)

    def fill(self, actions: np.ndarray) -> np.ndarray:
        """Returns ``[..., n]`` of ``[..., m]``."""
        if actions.shape[-1:] != self._left.shape:
            raise ConfigError(f"an action of shape {actions.shape}: expected {len(self._left)} entries, {self.knobs}")
        full = np.broadcast_to(self._full, (*actions.shape[:-1], len(self._full))).copy()
        full[..., self._left] = actions
        return full


class _Table:
    """What choices stand for."""

    def __init__(self, space: Space, levels: Sequence[float], choices: Choices, rest: float | Sequence[float]) -> None:
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
        if choices == "each":
            self.space: Space = MultiDiscrete([len(values)] * entries)
            return
        if choices == "one":
            still = np.asarray(rest, dtype=box.dtype)
            if still.shape not in ((), (entries,)) or not box.contains(np.broadcast_to(still, entries)):
                raise ConfigError(f"rest is {rest}: expected a number in the box {box}, or {entries} of them")
            self._table = np.broadcast_to(still, (1 + entries * len(values), entries)).copy()
            for entry in range(entries):
                self._table[1 + entry * len(values) : 1 + (entry + 1) * len(values), entry] = values
        elif choices == "all":
            if len(values) ** entries > _MOST:
                raise ConfigError(
                    f"{len(values)} levels of {entries} entries have {len(values) ** entries} combinations, "
                    f"more than {_MOST}: choose 'one' or 'each', or fewer levels"
                )
            grid = np.meshgrid(*[values] * entries, indexing="ij")
            self._table = np.stack([axis.ravel() for axis in grid], axis=-1)
        else:
            raise ConfigError(unknown_name("way of choosing", choices, ("each", "one", "all")))
        self.space = Discrete(len(self._table))

    def look_up(self, actions: np.ndarray) -> np.ndarray:
        """Returns ``[..., n]`` of choices ``[...]``, or of levels' places ``[..., n]``."""
        rows = self._table if len(self._table) else self._values
        if not np.issubdtype(actions.dtype, np.integer) or (actions < 0).any() or (actions >= len(rows)).any():
            raise ConfigError(f"choice {actions.tolist()}: expected whole numbers from 0 to {len(rows) - 1}")
        return rows[actions]


def _box(space: Space, wrapper: str, advice: str) -> Box:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ConfigError(f"{wrapper} was put around actions {space}: expected a Box of one dimension; {advice}")
    return space


def _names(env: gymnasium.Env | VectorEnv) -> tuple[str, ...]:
    """Returns the names of an action's entries, under whatever wrappers there are."""
    inner: Any = env
    while inner is not inner.unwrapped:
        if isinstance(inner, FreezeKnobs | VectorFreezeKnobs):
            return inner.knobs
        inner = inner.env
    if not hasattr(inner, "world"):
        raise ConfigError(f"the actions of {env} have no names: expected mapopt/DetectorTraining-v0")
    return tuple(inner.world.action.knobs)


def _is_relative(env: gymnasium.Env | VectorEnv) -> bool:
    inner: Any = env.unwrapped
    return isinstance(inner.world.action, RelativeAction)
