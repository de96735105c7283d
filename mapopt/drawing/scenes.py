"""What there is to see of an episode, as plain values and as a line of text.

Drawing knows nothing of training: this is what an episode gives it, and it can be drawn later, elsewhere or
again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapopt.training.knobs import Range


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedKnob:
    """One knob over the rounds played."""

    name: str
    values: tuple[float, ...]
    """At the end of each round played."""
    range: Range
    """What the knob may be; says also whether its scale is logarithmic."""
    baseline: tuple[float, ...] = ()
    """What the baseline has at the end of each round, as many rounds as are known; none by default."""
    limits: tuple[float, float] | None = None
    """What the panel shows: the whole range by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedImage:
    """One image of the val split with its ground truth and what the detector predicts now."""

    pixels: np.ndarray
    """uint8 ``[height, width, 3]``."""
    true_boxes: np.ndarray
    """``[t, 4]`` corners in pixels."""
    true_labels: np.ndarray
    """``[t]`` positions in the scene's categories."""
    boxes: np.ndarray
    """``[n, 4]`` corners in pixels; all predictions: what is too weak to show is left out when drawing."""
    scores: np.ndarray
    """``[n]``."""
    labels: np.ndarray
    """``[n]`` positions in the scene's categories."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderScene:
    """What an episode looks like after some of its rounds."""

    title: str
    """What is trained: as a rule the instance's description."""
    rounds: int
    """Rounds of the whole budget."""
    ap: tuple[float, ...]
    """Val AP after each round played, or what `measure` names; as many as rounds were played."""
    knobs: tuple[RenderedKnob, ...]
    """The knobs that change."""
    categories: tuple[str, ...] = ()
    """Names of the categories."""
    image: RenderedImage | None = None
    """One val image; not needed for a line of text."""
    ap_limit: float | None = None
    """Upper end of the AP axis; by default the next quarter above the best AP so far."""
    measure: str = "val AP"
    """What is drawn above the knobs."""
    step: str = "round"
    """What is counted along the axis."""


def describe_scene(scene: RenderScene) -> str:
    """Returns one line about the last round played.

    >>> knob = RenderedKnob(name="lr", values=(0.2,), range=Range(1e-5, 3.0, log=True))
    >>> describe_scene(RenderScene(title="shapes-train-3", rounds=20, ap=(0.125,), knobs=(knob,)))
    'round 1/20: val AP 0.125; lr 0.2'
    """
    played = len(scene.ap)
    if not played:
        return f"{scene.step} 0/{scene.rounds}: {scene.title}"
    knobs = ", ".join(f"{knob.name} {knob.values[-1]:.3g}" for knob in scene.knobs)
    return f"{scene.step} {played}/{scene.rounds}: {scene.measure} {scene.ap[-1]:.3f}; {knobs}"
