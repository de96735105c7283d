"""How an episode looks: a line of text, or a picture of AP and knobs over time beside one tune image.

What is shown is handed over as a `RenderScene`, so that drawing knows nothing of training and a scene can be drawn
later, elsewhere, or again.
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
    """One image of the tune split with its truth and what the detector finds now."""

    pixels: np.ndarray
    """uint8 ``[height, width, 3]``."""
    true_boxes: np.ndarray
    """``[t, 4]`` corners in pixels."""
    true_labels: np.ndarray
    """``[t]`` positions in the scene's categories."""
    boxes: np.ndarray
    """``[n, 4]`` corners in pixels; all that were found: what is too weak to show is left out when drawing."""
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
    """Tune AP after each round played; as many as rounds were played."""
    knobs: tuple[RenderedKnob, ...]
    """The knobs that are turned."""
    categories: tuple[str, ...] = ()
    """Names of the categories."""
    image: RenderedImage | None = None
    """One tune image; not needed for a line of text."""
    ap_limit: float | None = None
    """Upper end of the AP axis; by default the next quarter above the best AP so far."""


def line(scene: RenderScene) -> str:
    """Returns one line about the last round played.

    >>> knob = RenderedKnob(name="lr", values=(0.2,), range=Range(1e-5, 3.0, log=True))
    >>> line(RenderScene(title="shapes-train-3", rounds=20, ap=(0.125,), knobs=(knob,)))
    'round 1/20: tune AP 0.125; lr 0.2'
    """
    played = len(scene.ap)
    if not played:
        return f"round 0/{scene.rounds}: {scene.title}"
    turned = ", ".join(f"{knob.name} {knob.values[-1]:.3g}" for knob in scene.knobs)
    return f"round {played}/{scene.rounds}: tune AP {scene.ap[-1]:.3f}; {turned}"
