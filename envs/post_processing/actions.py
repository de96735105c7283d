"""What an action does to a setting of post-processing: it sets every number at once, or moves one by a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

from mapopt.envs.checks import is_number, read_choices, read_numbers
from mapopt.errors import ConfigError
from mapopt.postprocessing.settings import PER_CLASS, SHARED, PostProcessingSettings, names_of
from mapopt.training.knobs import Knobs, ranges

STEP_SIZE = 0.125
"""How far a discrete action moves a number unless something else is given."""


class SettingSpace:
    """Settings as ``[-1, 1]^n``: each number on the scale of its knob, those of a class once for every class.

    Args:
        classes: number of categories.

    >>> space = SettingSpace(2)
    >>> space.names[3:]
    ('score_threshold_0', 'score_threshold_1', 'detections_0', 'detections_1')
    >>> setting = space.move(space.default, space.default_units, [-1, -1, 1, -1, 1, 1, 0])
    >>> setting.score_thresholds, setting.class_detections
    ((0.0, 0.95), (300, 17))
    """

    def __init__(self, classes: int) -> None:
        self.names = names_of(classes)
        self.default = PostProcessingSettings.of(Knobs(), classes)
        knobs = (*SHARED, *(name for name in PER_CLASS for _ in range(classes)))
        self._ranges = [ranges()[name] for name in knobs]
        self._whole = [name == "detections" for name in knobs]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def default_units(self) -> NDArray[np.float64]:
        """``[n]`` where the default setting is."""
        values = self.default.as_dict().values()
        return np.array([bounds.to_unit(value) for bounds, value in zip(self._ranges, values, strict=True)])

    def move(
        self, setting: PostProcessingSettings, before: NDArray[np.float64], units: Sequence[float] | NDArray[np.float64]
    ) -> PostProcessingSettings:
        """Returns the setting of ``[n]`` numbers in [-1, 1].

        Args:
            setting: the one before.
            before: ``[n]`` its numbers.
            units: ``[n]`` those asked for. What is as before keeps its value exactly, not as the two scales round it.
        """
        shared = len(SHARED)
        values: list[float] = [setting.nms_iou, setting.soft_nms_sigma, setting.detections]
        values += [*setting.score_thresholds, *setting.class_detections]
        for place in np.flatnonzero(np.asarray(units) != before).tolist():
            value = self._ranges[place].from_unit(float(units[place]))
            values[place] = round(value) if self._whole[place] else value
        nms_iou, sigma, detections = values[:shared]
        classes = setting.classes
        return PostProcessingSettings(
            nms_iou=nms_iou,
            soft_nms_sigma=sigma,
            detections=int(detections),
            score_thresholds=tuple(values[shared : shared + classes]),
            class_detections=tuple(int(value) for value in values[shared + classes :]),
        )


class SettingAction(Protocol):
    """A form of action on a setting space; a class of your own is made as ``YourAction(space=...)``."""

    @property
    def space(self) -> SettingSpace:
        """The settings."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, keeps the default setting; None where there is none."""

    def space_of_actions(self) -> Space[Any]:
        """Returns the space an action comes from."""

    def apply(self, action: Any, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the units ``[n]`` after an action.

        Raises:
            ConfigError: the action is not one of the space's.
        """


class AbsoluteSettings:
    """``Box(-1, 1, (n,))``: every number of the setting at once, on the scale of its knob.

    Args:
        space: the settings.
    """

    def __init__(self, space: SettingSpace) -> None:
        self.space = space

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every number."""
        return self.space.names

    @property
    def baseline_action(self) -> None:
        """There is none: what keeps the default setting is rounded differently."""
        return None

    def space_of_actions(self) -> Space[Any]:
        """Returns the box."""
        return Box(-1.0, 1.0, (len(self.space),), np.float32)

    def apply(self, action: Any, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the action itself, clipped to the box."""
        return read_numbers(action, len(self.space))


class DiscreteSettings:
    """``Discrete(1 + 2n)``: 0 changes nothing, 1 + 2i and 2 + 2i move number i a step down and up.

    Args:
        space: the settings.
        step_size: how far an action moves a number on [-1, 1].

    Raises:
        ConfigError: the step is not in (0, 2].
    """

    def __init__(self, space: SettingSpace, *, step_size: float = STEP_SIZE) -> None:
        if not is_number(step_size) or not 0 < step_size <= 2:
            raise ConfigError(f"step_size is {step_size!r}: expected a part of [-1, 1], such as {STEP_SIZE}")
        self.space, self._step_size = space, step_size

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every choice: ``stay``, ``nms_iou_down``, ``nms_iou_up``, ..."""
        return ("stay", *(f"{name}_{way}" for name in self.space.names for way in ("down", "up")))

    @property
    def baseline_action(self) -> np.int64:
        """The choice that changes nothing."""
        return np.int64(0)

    def space_of_actions(self) -> Space[Any]:
        """Returns the choices."""
        return Discrete(1 + 2 * len(self.space))

    def apply(self, action: Any, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the units with a number moved, which stops at the ends of its range."""
        number, moved = read_choices(action, (), 1 + 2 * len(self.space)), units.copy()
        if number > 0:
            place, up = divmod(int(number) - 1, 2)
            moved[place] = min(max(moved[place] + (self._step_size if up else -self._step_size), -1.0), 1.0)
        return moved
