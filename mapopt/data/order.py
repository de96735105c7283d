"""The order of samples, and the random numbers that belong to one sample, as pure functions of a seed.

Nothing here keeps state: which image is the n-th that a run sees, and how it is augmented, follow from
``(seed, n)`` alone. So a resumed run needs nothing of its loader, and lanes or workers cannot disturb each other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_WEIGHTED = 3  # stream of the numbers that draw images with unequal probabilities
_REPEATED = 4  # stream of the numbers that round how often an image is repeated
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def sample_order(
    seed: int,
    start: int,
    count: int,
    size: int,
    *,
    probabilities: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
) -> np.ndarray:
    """Returns which images are the ones from `start` on: each epoch is one permutation of the set.

    Args:
        seed: the run's seed.
        start: images the run has seen already.
        count: how many to name.
        size: images in the training set.
        probabilities: ``[size]`` with which images are drawn instead, with replacement and without epochs.
        repeats: ``[size]`` how often an image comes in an epoch on average, at least 1. An epoch then is the sum of
            these long, rounded, and each image comes as often as its number says, rounded down or up; which of the two
            is drawn anew for every epoch.

    Returns:
        int64 ``[count]``, positions in the set.

    >>> sorted(sample_order(0, 10, 5, 5))
    [np.int64(0), np.int64(1), np.int64(2), np.int64(3), np.int64(4)]
    """
    if probabilities is not None:
        drawn = sample_uniforms(seed, start, count, 1, stream=_WEIGHTED)[:, 0]
        bounds = np.cumsum(probabilities)
        return np.searchsorted(bounds / bounds[-1], drawn, side="right").clip(max=size - 1)
    length = size if repeats is None else max(1, round(float(repeats.sum())))
    seen = np.arange(start, start + count)
    epochs = seen // length
    order = np.empty(count, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        order[chosen] = _permutation(seed, int(epoch), length)[seen[chosen] % length]
        if repeats is not None:
            order[chosen] = _repeated(seed, int(epoch), repeats, length)[order[chosen]]
    return order


def _repeated(seed: int, epoch: int, repeats: np.ndarray, length: int) -> np.ndarray:
    """Returns the images of an epoch with repeats, int64 ``[length]``, in their own order.

    Systematic sampling: one number is drawn, and image after image counts the whole numbers that it passes. So every
    epoch is equally long, where rounding each image by itself would make them differ.
    """
    ends = repeats.cumsum() * (length / repeats.sum())
    ends[-1] = length
    passed = np.floor(ends + sample_uniforms(seed, epoch, 1, 1, stream=_REPEATED)[0, 0])
    counts = np.diff(passed, prepend=0).astype(np.int64)
    return np.arange(len(repeats)).repeat(counts)


def sample_uniforms(seed: int, start: int, count: int, numbers: int, *, stream: int = 0) -> np.ndarray:
    """Returns uniform random numbers that belong to the samples from `start` on.

    A counter-based generator: the finalizer of SplitMix64 over (seed, stream, sample, number).

    Args:
        seed: the run's seed.
        start: images the run has seen already.
        count: samples.
        numbers: numbers per sample.
        stream: separates uses that must not share numbers.

    Returns:
        float64 ``[count, numbers]`` in [0, 1).

    Reference: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, fig. 17.
    """
    samples = np.arange(start, start + count, dtype=np.uint64)[:, None]
    columns = np.arange(numbers, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        key = _mix(np.array([(seed << 8) ^ stream], dtype=np.uint64) + _GOLDEN)
        bits = _mix(_mix(samples * _GOLDEN + key) + (columns + np.uint64(1)) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample_seed(seed: int, start: int, *, stream: int = 0) -> int:
    """Returns one 63-bit seed for a generator that serves the step which starts at image `start`."""
    return int(sample_uniforms(seed, start, 1, 1, stream=stream)[0, 0] * 2**53) ^ (stream << 54)


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=512)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)
