"""What an action does to a setting of post-processing: it sets every number at once, or moves one by a notch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

from mapopt.envs.suppression import Setting
from mapopt.errors import ConfigError, unknown_name
from mapopt.training.knobs import Knobs, ranges

ACTIONS = ("absolute", "discrete")
NOTCH = 0.125

_SHARED = ("nms_iou", "soft_nms_sigma", "detections")


class SettingSpace:
    """Settings as ``[-1, 1]^n``: each number on the scale of its knob, a score threshold for every class.

    Args:
        classes: number of categories.

    >>> space = SettingSpace(2)
    >>> space.names
    ('nms_iou', 'soft_nms_sigma', 'detections', 'score_threshold_0', 'score_threshold_1')
    >>> space.setting([-1, -1, 1, -1, 1]).score_thresholds
    (0.0, 0.95)
    """

    def __init__(self, classes: int) -> None:
        self.names = (*_SHARED, *(f"score_threshold_{k}" for k in range(classes)))
        self.default = Setting.of(Knobs(), classes)
        self._ranges = [ranges()[name] for name in (*_SHARED, *("score_threshold",) * classes)]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def default_units(self) -> NDArray[np.float64]:
        """``[n]`` where a detector's default knobs are."""
        one = self.default
        values = (one.nms_iou, one.soft_nms_sigma, one.detections, *one.score_thresholds)
        return np.array([bounds.to_unit(value) for bounds, value in zip(self._ranges, values, strict=True)])

    def setting(self, units: Sequence[float] | NDArray[np.float64]) -> Setting:
        """Returns the setting of ``[n]`` numbers in [-1, 1]."""
        nms_iou, sigma, detections, *thresholds = (
            bounds.from_unit(float(unit)) for bounds, unit in zip(self._ranges, units, strict=True)
        )
        return Setting(
            nms_iou=nms_iou, soft_nms_sigma=sigma, detections=round(detections), score_thresholds=tuple(thresholds)
        )


class SettingAction:
    """A form of action on a setting space.

    Args:
        space: the settings.
        form: "absolute", a box, or "discrete", one number a notch down or up.
        notch: how far a discrete action moves a number on [-1, 1].

    Raises:
        ConfigError: there is no such form, or the notch is not in (0, 2].
    """

    def __init__(self, space: SettingSpace, form: str, *, notch: float = NOTCH) -> None:
        if form not in ACTIONS:
            raise ConfigError(unknown_name("action", form, ACTIONS))
        if not 0 < notch <= 2:
            raise ConfigError(f"notch is {notch}: expected a part of [-1, 1], such as {NOTCH}")
        self.space, self._discrete, self._notch = space, form == "discrete", notch

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        if not self._discrete:
            return self.space.names
        return ("stay", *(f"{name}_{way}" for name in self.space.names for way in ("down", "up")))

    @property
    def baseline_action(self) -> np.int64 | None:
        """The action that, always taken, keeps the default setting; None where the form has none (``absolute``)."""
        return np.int64(0) if self._discrete else None

    def space_of_actions(self) -> Space[Any]:
        """Returns the space an action comes from."""
        size = len(self.space)
        return Discrete(1 + 2 * size) if self._discrete else Box(-1.0, 1.0, (size,), np.float32)

    def apply(self, action: Any, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the units ``[n]`` after an action.

        Raises:
            ConfigError: the action is not one of the space's.
        """
        size = len(self.space)
        if not self._discrete:
            wanted = np.asarray(action, np.float64)
            if wanted.shape != (size,) or not np.isfinite(wanted).all():
                raise ConfigError(f"an action of shape {wanted.shape}: expected ({size},), finite, in [-1, 1]")
            return np.clip(wanted, -1.0, 1.0)
        number = np.asarray(action)
        if number.shape != () or number.dtype.kind not in "iu" or not 0 <= number <= 2 * size:
            raise ConfigError(f"action {action!r}: expected a whole number from 0 to {2 * size}")
        moved = units.copy()
        if number > 0:
            place, up = divmod(int(number) - 1, 2)
            moved[place] = min(max(moved[place] + (self._notch if up else -self._notch), -1.0), 1.0)
        return moved
