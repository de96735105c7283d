"""What an agent's action does to the knobs: it moves chosen ones away from a baseline, or sets them outright.

Wherever an action is relative, doing nothing is the baseline, bit for bit. So an untrained agent is the baseline with
noise, and whatever a trained one gains is gained over the thing a researcher would have run anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space

from mapopt.errors import ConfigError, unknown_name
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs, KnobSpace, ranges

DEFAULT_KNOBS = ("lr", "weight_decay", "augment", "assign_iou")

SCALE = 10.0
STEP_SIZE = 0.25


class Action(Protocol):
    """A form of action over chosen knobs."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the knobs that are turned."""

    @property
    def baseline(self) -> Controller:
        """What decides everything else."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where there is none."""

    def space_of_actions(self) -> Space[Any]:
        """Returns the space an action comes from."""

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the knobs of the coming round, or the order to stop before it; a function of its arguments only.

        Raises:
            ConfigError: the action is not one of the space's.
        """

    def over(self, baseline: Controller) -> Action:
        """Returns the same action over another baseline."""


@dataclass(frozen=True, kw_only=True)
class _OverBaseline:
    """What all forms have: some knobs, and a baseline that decides the others."""

    knobs: tuple[str, ...] = DEFAULT_KNOBS
    """The knobs that are turned."""
    baseline: Controller = field(default_factory=Schedule)
    """What decides everything else, and what relative actions are relative to."""

    def __post_init__(self) -> None:
        KnobSpace(self.knobs)

    @property
    def space(self) -> KnobSpace:
        """The chosen knobs as a box."""
        return KnobSpace(self.knobs)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        return self.knobs

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where there is none."""
        return None

    def over(self, baseline: Controller) -> Any:
        """Returns the same action over another baseline."""
        return replace(self, baseline=baseline)

    def _box(self) -> Box:
        return Box(-1.0, 1.0, (len(self.knobs),), np.float32)

    def _numbers(self, action: Any) -> np.ndarray:
        """Returns a continuous action as float64 ``[n]``, if it is finite and has the right shape."""
        numbers = np.asarray(action, dtype=np.float64)
        if numbers.shape != (len(self.knobs),) or not np.isfinite(numbers).all():
            raise ConfigError(
                f"an action of shape {numbers.shape}, {_shown(numbers)}: "
                f"expected ({len(self.knobs)},), finite, in [-1, 1]"
            )
        return numbers


@dataclass(frozen=True, kw_only=True)
class RelativeAction(_OverBaseline):
    """``Box(-1, 1, (n,))``: an offset of every knob from what the baseline does in the same round."""

    scale: float = SCALE
    """What an offset of 1 means: this factor on a logarithmic knob; see `KnobSpace.shift`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_scale(self.scale)

    @property
    def baseline_action(self) -> np.ndarray:
        """No offset at all."""
        return np.zeros(len(self.knobs), np.float32)

    def space_of_actions(self) -> Space[Any]:
        """Returns the box."""
        return self._box()

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the chosen knobs moved by the action."""
        return _shifted(self, self._numbers(action), self.scale, history, task, budget)


@dataclass(frozen=True, kw_only=True)
class AbsoluteAction(_OverBaseline):
    """``Box(-1, 1, (n,))``: the value of every knob, -1 and 1 being the ends of its range, on its own scale."""

    def space_of_actions(self) -> Space[Any]:
        """Returns the box."""
        return self._box()

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the chosen knobs set, for the whole of the round."""
        units, usual, space = self._numbers(action), self.baseline.decide(history, task, budget), self.space
        start = usual.ramp_from
        return Decision(
            knobs=space.from_unit(units, usual.knobs),
            ramp_from=None if start is None else space.from_unit(units, start),
            stop=usual.stop,
        )


@dataclass(frozen=True, kw_only=True)
class _Stepped(_OverBaseline):
    """Offsets from the baseline that stay from round to round and move by notches.

    The present offset is read from the last round's knobs against what the baseline decided then, to the nearest notch;
    so it is a function of the history, and a policy needs nothing else. Where the end of a knob's range cuts an offset
    off, it is the first that reaches the end.
    """

    scale: float = SCALE
    """What an offset of 1 means, which is also the largest; see `KnobSpace.shift`."""
    step_size: float = STEP_SIZE
    """How far an action moves an offset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_scale(self.scale)
        if not 0 < self.step_size <= 1:
            raise ConfigError(f"step_size is {self.step_size}: expected more than 0 and at most 1, the largest offset")

    def offset_steps(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> list[int]:
        """Returns how many notches above or below the baseline every knob was in the last round."""
        if not history:
            return [0] * len(self.knobs)
        usual = self.baseline.decide(history[:-1], task, budget).knobs
        most = self._max_steps
        now = history[-1].knobs
        found = (_count(name, now, usual, scale=self.scale, step_size=self.step_size) for name in self.knobs)
        return [min(max(count, -most), most) for count in found]

    @property
    def _max_steps(self) -> int:
        return int(1 / self.step_size + 1e-9)

    def _moved(self, moves: Sequence[int], history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        counts = [
            min(max(count + move, -self._max_steps), self._max_steps)
            for count, move in zip(self.offset_steps(history, task, budget), moves, strict=True)
        ]
        offsets = np.array([count * self.step_size for count in counts])
        return _shifted(self, offsets, self.scale, history, task, budget)


@dataclass(frozen=True, kw_only=True)
class DiscreteAction(_Stepped):
    """``Discrete(1 + 2n)``: 0 keeps the offsets, 1 + 2i and 2 + 2i move that of knob i a notch down and up."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every choice: ``stay``, ``lr_down``, ``lr_up``, ..."""
        return ("stay", *(f"{name}_{way}" for name in self.knobs for way in ("down", "up")))

    @property
    def baseline_action(self) -> np.int64:
        """The choice that keeps the offsets, which begin at none."""
        return np.int64(0)

    def space_of_actions(self) -> Space[Any]:
        """Returns the choices."""
        return Discrete(1 + 2 * len(self.knobs))

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the offsets as they are now."""
        choice = int(_choices(action, (), 1 + 2 * len(self.knobs)))
        moves = [0] * len(self.knobs)
        if choice:
            moves[(choice - 1) // 2] = 1 if choice % 2 == 0 else -1
        return self._moved(moves, history, task, budget)


@dataclass(frozen=True, kw_only=True)
class MultiDiscreteAction(_Stepped):
    """``MultiDiscrete([3] * n)``: for every knob 0 moves its offset a notch down, 1 keeps it, 2 moves it up."""

    @property
    def baseline_action(self) -> np.ndarray:
        """The choices that keep the offsets, which begin at none."""
        return np.ones(len(self.knobs), np.int64)

    def space_of_actions(self) -> Space[Any]:
        """Returns the choices."""
        return MultiDiscrete([3] * len(self.knobs))

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the offsets as they are now."""
        choices = _choices(action, (len(self.knobs),), 3)
        return self._moved([int(choice) - 1 for choice in choices], history, task, budget)


ACTIONS: dict[str, type[RelativeAction | AbsoluteAction | DiscreteAction | MultiDiscreteAction]] = {
    "relative": RelativeAction,
    "absolute": AbsoluteAction,
    "discrete": DiscreteAction,
    "multi_discrete": MultiDiscreteAction,
}
"""The forms an action may have."""


def make_action(
    form: str = "relative",
    *,
    knobs: Sequence[str] = DEFAULT_KNOBS,
    scale: float | None = None,
    step_size: float | None = None,
    baseline: Controller | None = None,
) -> Action:
    """Makes a form of action.

    Args:
        form: a name in `ACTIONS`.
        knobs: names of the knobs that are turned.
        scale: what an offset of 1 means; 10 by default.
        step_size: how far a discrete action moves; a quarter by default.
        baseline: what decides the other knobs; by default a warm-up and cosine.

    Raises:
        ConfigError: the form or a knob is unknown, or the form has no use for a setting.
    """
    if form not in ACTIONS:
        raise ConfigError(unknown_name("action form", form, ACTIONS))
    given = {"scale": scale, "step_size": step_size, "baseline": baseline}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    foreign = set(settings) - {one.name for one in fields(ACTIONS[form])}
    if foreign:
        raise ConfigError(f"{', '.join(sorted(foreign))} was given for {form} actions, which have none: leave it out")
    return ACTIONS[form](knobs=tuple(knobs), **settings)


def _shifted(
    action: _OverBaseline,
    offsets: np.ndarray,
    scale: float,
    history: Sequence[Round],
    task: TaskInfo,
    budget: Budget,
) -> Decision:
    """Moves both ends of the baseline's decision."""
    usual, space = action.baseline.decide(history, task, budget), action.space
    start = usual.ramp_from
    return Decision(
        knobs=space.shift(offsets, usual.knobs, scale=scale),
        ramp_from=None if start is None else space.shift(offsets, start, scale=scale),
        stop=usual.stop,
    )


def _count(name: str, knobs: Knobs, usual: Knobs, *, scale: float, step_size: float) -> int:
    """Returns the notches with which `KnobSpace.shift` comes from the usual value to the present one."""
    bounds, value, base = ranges()[name], getattr(knobs, name), getattr(usual, name)
    if bounds.log:
        count = math.log(value / base) / math.log(scale) / step_size
    else:
        count = (value - base) / (math.log10(scale) / 2 * (bounds.high - bounds.low)) / step_size
    if value == bounds.low < base:
        return math.floor(count + 1e-6)
    if value == bounds.high > base:
        return math.ceil(count - 1e-6)
    return round(count)


def _choices(action: Any, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Returns a discrete action, if it is whole numbers of the right shape below a count."""
    choices = np.asarray(action)
    fits = choices.shape == shape and np.issubdtype(choices.dtype, np.integer)
    if not fits or (choices < 0).any() or (choices >= count).any():
        raise ConfigError(
            f"an action of shape {choices.shape}, {_shown(choices)}: expected whole numbers from 0 to {count - 1} "
            f"of shape {shape}"
        )
    return choices


def _check_scale(scale: float) -> None:
    if not scale > 1:
        raise ConfigError(f"scale is {scale}: expected a factor above 1")


def _shown(values: np.ndarray) -> str:
    return str(values.tolist()) if values.size <= 8 else f"{values.size} numbers"
