"""What of an episode is drawn: the value of the settings so far, and the numbers of which they are made."""

from __future__ import annotations

import numpy as np

from mapopt.drawing.episode import draw_scene
from mapopt.drawing.scenes import RenderedKnob, RenderScene
from mapopt.envs.post_processing.lanes import PostProcessingLane
from mapopt.errors import ConfigError
from mapopt.postprocessing.settings import SHARED
from mapopt.training.knobs import ranges

RENDER_MODES = ("ansi", "rgb_array")

_SHOWN = 9
"""Numbers of a setting that a picture has room for: those that all classes share, then the first classes' own."""


def check_render_mode(mode: str | None) -> None:
    """Raises ConfigError unless there is such a render mode."""
    if mode not in (None, *RENDER_MODES):
        raise ConfigError(f"render_mode is {mode!r}: expected {', '.join(map(repr, RENDER_MODES))} or None")


def render(lane: PostProcessingLane, mode: str | None) -> str | np.ndarray | None:
    """Returns a lane as a line of text ("ansi"), as a picture uint8 ``[h, w, 3]`` ("rgb_array"), or as nothing."""
    if mode == "ansi":
        return lane.line()
    if mode == "rgb_array":
        return draw_scene(scene_of(lane))
    return None


def scene_of(lane: PostProcessingLane) -> RenderScene:
    """Returns what there is to see of a lane."""
    state, bounds = lane.state, ranges()
    default, *made = (setting.as_dict() for setting in (*state.earlier, state.setting))
    return RenderScene(
        title=lane.description,
        rounds=lane.length,
        ap=state.values[1:],
        knobs=tuple(
            RenderedKnob(
                name=name,
                values=tuple(setting[name] for setting in made),
                range=bounds[name if name in SHARED else name.rpartition("_")[0]],
                baseline=(default[name],) * len(made),
            )
            for name in list(default)[:_SHOWN]
        ),
        measure=lane.reward,
        step="step",
    )
