"""How knobs move over a whole run: from a first to a last value, or through points, on straight lines.

A blend in time is such a move: a ranking loss that takes over from a pointwise one, a temperature that falls, an
assignment that becomes stricter. All values are linear in the images trained, those of logarithmic knobs too: so every
step has what is written down, wherever the rounds begin and end, and other shapes are made of more points.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from mapopt.errors import ConfigError, shown, unknown_name
from mapopt.fields import LEFT_OUT_WHEN_EMPTY, Form
from mapopt.training.knobs import Knobs, Range, ranges
from mapopt.training.ramps import TOLERANCE

Points = tuple[tuple[float, float], ...]
"""Fractions of the run, rising, each with a value; two at the same fraction are a jump."""


def moved_by(controller: Any) -> tuple[str, ...]:
    """Returns the names of the knobs that a controller says it moves over the run."""
    moves = getattr(controller, "moves", ())
    return tuple(moves.moves if isinstance(moves, KnobMoves) else moves)


def _read_words(words: Sequence[str]) -> tuple[float, float] | Points:
    """Reads what follows a flag: two values, or points such as ``0.7:1``; ValueError where it is neither."""
    if any(":" in word for word in words):
        return tuple((float(at), float(value)) for at, _, value in (word.partition(":") for word in words))
    if not words:
        return ()
    first, last = map(float, words)
    return first, last


Move = Annotated[
    tuple[float, float] | Points | dict[float, float],
    Form(
        words="the first and the last value, or progress with values, such as {0: 0.1, 0.5: 0.4, 1: 0.2}",
        flag="the first and the last value, or points of progress and value such as 0:0.1 0.5:0.4 1:0.2",
        metavar="FIRST LAST|AT:VALUE ...",
        read=_read_words,
    ),
]
"""A knob's values over a run: the first and the last, or points, as a mapping or as pairs; empty where it stays."""


DEFAULT_MOVES: dict[str, Points] = {"assign_iou": ((0.0, 0.25), (1.0, 0.55))}
"""How knobs move that are left open: first many locations learn of every object, at the end those that fit it well."""


@dataclass(frozen=True, kw_only=True)
class KnobMoves:
    """The knobs that move over a run, each from its first to its last image or through points.

    Raises:
        ConfigError: a knob is unknown, a value is out of its range, or points are not inside the run or do not rise.
    """

    weight_decay: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.weight-decay."""
    momentum: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.momentum."""
    box_weight: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.box-weight."""
    class_weight: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.class-weight."""
    focal_gamma: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.focal-gamma."""
    surrogate_weight: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.surrogate-weight: 0:0 0.7:0 0.75:1 lets the ranking loss take over late."""
    assign_iou: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.assign-iou; from 0.25 to 0.55 where neither is given."""
    augment: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.augment."""
    nms_iou: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.nms-iou; a round is evaluated with the value at its end."""
    score_threshold: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.score-threshold; a round is evaluated with the value at its end."""
    soft_nms_sigma: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.soft-nms-sigma; a round is evaluated with the value at its end."""
    detections: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.detections; a round is evaluated with the value at its end, rounded."""
    batch_fraction: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.batch-fraction; a round trains on the fraction at its end, rounded."""
    temperature: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.temperature."""
    step_ratio: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.step-ratio. As written, without warm-up and decay, which the knob itself
    follows; 0 is off, and a way from 0 begins with the shortest steps."""
    augment_kinds: Move = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    """Over the run, in place of --knobs.augment-kinds: 0:1 0.85:1 0.85:0 ends mosaic and its like before the run."""
    own: dict[str, Move] = field(default_factory=dict, hash=False, metadata=LEFT_OUT_WHEN_EMPTY)
    """Knobs that the recipe's own parts declare: the name, and then its values as for the others."""

    def __post_init__(self) -> None:
        for name in _OURS:
            object.__setattr__(self, name, _checked(name, getattr(self, name), ranges()[name]))
        if not isinstance(self.own, Mapping):
            raise ConfigError(f"own is of type {type(self.own).__name__}: expected names of own knobs with their moves")
        for name in self.own:
            if name in ranges() or not isinstance(name, str) or not name.isidentifier():
                raise ConfigError(
                    f"the schedule moves the own knob {shown(name)}: expected a name in letters that is none of "
                    f"{', '.join(ranges())}"
                )
        own = {name: _checked(name, move, None) for name, move in self.own.items()}
        object.__setattr__(self, "own", {name: move for name, move in own.items() if move})

    @property
    def moves(self) -> dict[str, Points]:
        """Name -> points of every knob that moves."""
        given = {name: getattr(self, name) for name in _OURS} | self.own
        return {name: _points(move) for name, move in given.items() if move}

    def moves_of(self, knobs: Knobs) -> dict[str, Points]:
        """Returns name -> points of every knob that moves where a task has these knobs.

        What nobody has set, neither here nor in the knobs, moves as in `DEFAULT_MOVES`.
        """
        moves = self.moves
        left = {name: points for name, points in DEFAULT_MOVES.items() if getattr(knobs, name) is None}
        return left | moves

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the own knobs that move are those of a task, each inside its range.

        Args:
            known: name -> range of all of the task's knobs, as `mapopt.training.Task.ranges`.
        """
        for name in self.own:
            if name not in known:
                raise ConfigError(unknown_name("knob in the schedule", name, known))
            _check_values(name, self.moves[name], known[name])

    def moved(self, knobs: Knobs, progress: float, *, before: bool = False) -> Knobs:
        """Returns the knobs with those that move where they are after a fraction of the run.

        Args:
            knobs: of the task.
            progress: 0 to 1.
            before: where a knob jumps, its value before and not after it.
        """
        moves = self.moves_of(knobs)
        return knobs.replace(**{name: _value(points, progress, before) for name, points in moves.items()})


_OURS = tuple(item.name for item in fields(KnobMoves) if item.name != "own")


def _points(move: Any) -> Points:
    """Returns a checked move as points."""
    first, last = move[0], move[-1]
    return ((0.0, first), (1.0, last)) if isinstance(first, float) else move


def _checked(name: str, move: Any, bounds: Range | None) -> Any:
    """Returns a move in its one spelling: the first and the last value where that says it, else pairs.

    Raises:
        ConfigError: it is none, or a value is out of range.
    """
    pairs = list(move.items()) if isinstance(move, Mapping) else move
    if isinstance(pairs, tuple | list) and len(pairs) == 2 and all(map(_is_number, pairs)):
        pairs = [(0.0, pairs[0]), (1.0, pairs[1])]
    if not isinstance(pairs, tuple | list) or not all(map(_is_pair, pairs)):
        raise ConfigError(
            f"the schedule moves knob {name} by {shown(move)}: expected the first and the last value, or points as "
            "{progress: value}"
        )
    points = tuple((float(at), float(value)) for at, value in pairs)
    if len(points) == 1:
        raise ConfigError(f"the schedule moves knob {name} through one point: give two or more, or set the knob itself")
    places = [at for at, _ in points]
    for at in places:
        if not 0 <= at <= 1:
            raise ConfigError(
                f"the schedule moves knob {name} at progress {at:g}: expected fractions of the run, 0 to 1"
            )
    if places != sorted(places) or any(places.count(at) > 2 for at in places):
        raise ConfigError(
            f"the schedule moves knob {name} at progress {', '.join(f'{at:g}' for at in places)}: expected it to rise; "
            "two points at the same are a jump"
        )
    _check_values(name, points, bounds)
    return (points[0][1], points[1][1]) if places == [0.0, 1.0] else points


def _check_values(name: str, points: Points, bounds: Range | None) -> None:
    for _, value in points:
        if bounds is not None and not bounds.low <= value <= bounds.high:
            raise ConfigError(
                f"the schedule moves knob {name} to {value:g}: expected {bounds.low:g} to {bounds.high:g}"
            )


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and all(map(_is_number, item))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _value(points: Points, progress: float, before: bool) -> float:
    """Returns the value after a fraction of the run; before the first point it is that one's, after the last likewise.

    Args:
        points: rising.
        progress: 0 to 1.
        before: at a jump, the value before it.
    """
    places = [at for at, _ in points]
    passed = bisect_left(places, progress - TOLERANCE) if before else bisect_right(places, progress + TOLERANCE)
    if passed in (0, len(points)):
        return points[min(passed, len(points) - 1)][1]
    (start, first), (end, last) = points[passed - 1], points[passed]
    part = min(max((progress - start) / (end - start), 0.0), 1.0)
    # At its ends exactly theirs, and never outside them.
    return min(max(first * (1 - part) + last * part, min(first, last)), max(first, last))
