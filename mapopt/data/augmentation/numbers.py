"""The random numbers of every kind of augmentation: a stream of its own, so that naming one kind moves no other."""

from __future__ import annotations

import numpy as np

from mapopt.data.order import sample_uniforms

_STREAMS = {
    name: 16 + place
    for place, name in enumerate(
        (
            *("mosaic", "copy_paste", "flip_vertical", "quarter_turns", "rotate", "perspective", "mixup", "blur"),
            *("hue", "cut_out", "transform", "scale", "brightness", "contrast", "saturation", "noise"),
        )
    )
}
"""They stay: whatever changes them changes every run. A new kind goes to the end."""


def numbers_of(kind: str, seed: int, start: int, count: int, numbers: int) -> np.ndarray:
    """Returns the numbers of one kind for the samples from `start` on, float64 ``[count, numbers]`` in [0, 1).

    Args:
        kind: of augmentation.
        seed: the run's seed.
        start: images the run has seen already.
        count: samples.
        numbers: of each sample; the first says whether the kind happens.
    """
    return sample_uniforms(seed, start, count, numbers, stream=_STREAMS[kind])
