"""The forms of action: offsets from a baseline, offsets that add up, values, and steps of one knob or of all.

Wherever an action is relative, doing nothing is the baseline, bit for bit. So an untrained agent is the baseline with
noise, and whatever a trained one gains is gained over what a researcher would have run anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space

from mapopt.envs.checks import is_number, read_choices, read_numbers
from mapopt.envs.detector_training.actions import DEFAULT_KNOBS, SCALE, STEP_SIZE
from mapopt.errors import ConfigError
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knobs import Knobs, Range

if TYPE_CHECKING:
    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.history import Round


@dataclass(frozen=True, kw_only=True)
class KnobAction:
    """What all forms of action have: chosen knobs, and a baseline that decides the others.

    A form of your own adds `space_of_actions` and `decide`.
    """

    knobs: tuple[str, ...] = DEFAULT_KNOBS
    """The knobs that an action sets."""
    baseline: Controller = field(default_factory=Schedule)
    """What decides everything else, and what relative actions are relative to."""

    def __post_init__(self) -> None:
        # Which knobs there are is known with the task, whose own parts may declare more; see `KnobSpace`.
        if not self.knobs or len(set(self.knobs)) != len(self.knobs):
            raise ConfigError(f"knobs are {', '.join(self.knobs) or 'none'}: expected at least one, each named once")

    def knob_space(self, task: TaskInfo) -> KnobSpace:
        """Returns the chosen knobs of a task as a box.

        Raises:
            ConfigError: the task has no such knob.
        """
        return KnobSpace(self.knobs, task.ranges)

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
        """Returns a continuous action as float64 ``[n]`` in the box, if it is finite and has the right shape."""
        return read_numbers(action, len(self.knobs))


@dataclass(frozen=True, kw_only=True)
class _Offset(KnobAction):
    """What forms have whose numbers are offsets from the baseline."""

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


@dataclass(frozen=True, kw_only=True)
class RelativeAction(_Offset):
    """``Box(-1, 1, (n,))``: an offset of every knob from what the baseline does in the same round."""

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the chosen knobs moved by the action."""
        return _shifted(self, self._numbers(action), self.scale, history, task, budget)


@dataclass(frozen=True, kw_only=True)
class MovingAction(_Offset):
    """``Box(-1, 1, (n,))``: moves every knob from where it is, so it gets anywhere in its range within some rounds.

    Where it is, is its offset from the baseline in the last round: a factor on a logarithmic knob. What is moved goes
    on following the baseline from there, and zeros keep the offsets, which begin at none. An offset that the end of a
    range cut off begins at that end.
    """

    def offsets(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> list[float]:
        """Returns how far every knob was from the baseline in the last round, in moves of 1."""
        if not history:
            return [0.0] * len(self.knobs)
        default, now = self.baseline.decide(history[:-1], task, budget).knobs, history[-1].knobs
        return [
            0.0 if now.get(name) == default.get(name) else _offset(bounds, now.get(name), default.get(name), self.scale)
            for name, bounds in self.knob_space(task).ranges.items()
        ]

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the chosen knobs where they were, and moved by the action."""
        moves, ranges = self._numbers(action), self.knob_space(task).ranges
        totals = [old + float(move) for old, move in zip(self.offsets(history, task, budget), moves, strict=True)]

        def moved(knobs: Knobs) -> Knobs:
            places = zip(ranges.items(), totals, strict=True)
            return knobs.replace(
                **{
                    name: _at_offset(bounds, name, knobs.get(name), total, self.scale)
                    for (name, bounds), total in places
                    if total
                }
            )

        return self.baseline.decide(history, task, budget).turned(moved)


@dataclass(frozen=True, kw_only=True)
class AbsoluteAction(KnobAction):
    """``Box(-1, 1, (n,))``: the value of every knob, -1 and 1 being the ends of its range, on its own scale."""

    def space_of_actions(self) -> Space[Any]:
        """Returns the box."""
        return self._box()

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the chosen knobs set, for the whole of the round."""
        units, space = self._numbers(action), self.knob_space(task)
        default = self.baseline.decide(history, task, budget)
        return default.turned(lambda knobs: space.from_unit(units, knobs))


@dataclass(frozen=True, kw_only=True)
class _Stepped(KnobAction):
    """Offsets from the baseline that stay from round to round and move by steps.

    The present offset is read from the last round's knobs against what the baseline decided then, to the nearest step;
    so it is a function of the history, and a policy needs nothing else. Where the end of a knob's range cuts an offset
    off, it is the first that arrives at the end.
    """

    scale: float = SCALE
    """What an offset of 1 means, which is also the largest; see `KnobSpace.shift`."""
    step_size: float = STEP_SIZE
    """How far an action moves an offset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_scale(self.scale)
        if not is_number(self.step_size) or not 0 < self.step_size <= 1:
            raise ConfigError(
                f"step_size is {self.step_size!r}: expected more than 0 and at most 1, the largest offset"
            )

    def offset_steps(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> list[int]:
        """Returns how many steps above or below the baseline every knob was in the last round."""
        if not history:
            return [0] * len(self.knobs)
        default = self.baseline.decide(history[:-1], task, budget).knobs
        now, limit, counts = history[-1].knobs, self._max_steps, []
        for name, bounds in self.knob_space(task).ranges.items():
            count = _count(bounds, now.get(name), default.get(name), scale=self.scale, step_size=self.step_size)
            counts.append(min(max(count, -limit), limit))
        return counts

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
    """``Discrete(1 + 2n)``: 0 keeps the offsets, 1 + 2i and 2 + 2i move that of knob i a step down and up."""

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
        choice = int(read_choices(action, (), 1 + 2 * len(self.knobs)))
        moves = [0] * len(self.knobs)
        if choice:
            moves[(choice - 1) // 2] = 1 if choice % 2 == 0 else -1
        return self._moved(moves, history, task, budget)


@dataclass(frozen=True, kw_only=True)
class MultiDiscreteAction(_Stepped):
    """``MultiDiscrete([3] * n)``: for every knob 0 moves its offset a step down, 1 keeps it, 2 moves it up."""

    @property
    def baseline_action(self) -> np.ndarray:
        """The choices that keep the offsets, which begin at none."""
        return np.ones(len(self.knobs), np.int64)

    def space_of_actions(self) -> Space[Any]:
        """Returns the choices."""
        return MultiDiscrete([3] * len(self.knobs))

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the baseline's decision with the offsets as they are now."""
        choices = read_choices(action, (len(self.knobs),), 3)
        return self._moved([int(choice) - 1 for choice in choices], history, task, budget)


def _shifted(
    action: KnobAction,
    offsets: np.ndarray,
    scale: float,
    history: Sequence[Round],
    task: TaskInfo,
    budget: Budget,
) -> Decision:
    """Moves the baseline's decision: both ends, and the points on the way."""
    default, space = action.baseline.decide(history, task, budget), action.knob_space(task)
    return default.turned(lambda knobs: space.shift(offsets, knobs, scale=scale))


def _count(bounds: Range, value: float, base: float, *, scale: float, step_size: float) -> int:
    """Returns the steps with which `KnobSpace.shift` comes from the baseline's value to the present one."""
    count = _offset(bounds, value, base, scale) / step_size
    if value == bounds.low < base:
        return math.floor(count + 1e-6)
    if value == bounds.high > base:
        return math.ceil(count - 1e-6)
    return round(count)


def _offset(bounds: Range, value: float, base: float, scale: float) -> float:
    """Returns the offset with which `KnobSpace.shift` comes from the baseline's value to the present one."""
    if bounds.log:
        return math.log(value / base) / math.log(scale) if value > 0 and base > 0 else 0.0
    return (value - base) / (math.log10(scale) / 2 * (bounds.high - bounds.low))


def _at_offset(bounds: Range, name: str, base: float, offset: float, scale: float) -> float:
    """Returns a knob's value at an offset of any size, inside its range."""
    if bounds.log:
        if not base:
            raise ConfigError(
                f"knob {name} is 0, which is off, and was to be multiplied: start from a value above 0, or set it "
                "outright (absolute actions)"
            )
        return bounds.clip(max(base * scale**offset, bounds.begin))
    return bounds.clip(base + offset * math.log10(scale) / 2 * (bounds.high - bounds.low))


def _check_scale(scale: float) -> None:
    if not is_number(scale) or not scale > 1:
        raise ConfigError(f"scale is {scale!r}: expected a finite factor above 1")
