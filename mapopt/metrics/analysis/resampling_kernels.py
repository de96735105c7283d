"""The count behind a bootstrap compiled by numba: every image weighs as often as it was drawn, and nothing is copied.

It gives the bits of `mapopt.metrics.analysis.resampling.expand_and_count`. A detection that occurs w times in a row
adds w to its count at once, for of its copies the last has the best precision, and only the best one is read. The
exceptions are equal scores of one class in one image, whose copies come in turns: they are counted copy by copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.metrics.analysis.resampling import Ledger, empty_precisions
from mapopt.metrics.settings import RECALLS


def weigh_and_count(ledger: Ledger, copies: NDArray[np.int64]) -> NDArray[np.float64]:
    """Does what `mapopt.metrics.analysis.resampling.expand_and_count` does."""
    layout = ledger.layout
    positives = np.bincount(
        layout.truth_class,
        weights=np.where(ledger.ignored, 0, copies[ledger.truth_image]),
        minlength=layout.classes_total,
    ).astype(np.int64)
    precision = empty_precisions(ledger)
    _count(
        copies,
        ledger.image,
        ledger.tie_starts,
        layout.classes,
        ledger.inside,
        ledger.matched,
        ledger.correct,
        positives,
        RECALLS,
        precision,
    )
    return precision


@compiled
def _count(
    copies: NDArray[np.int64],
    image: NDArray[np.int64],
    tie_starts: NDArray[np.int64],
    classes: NDArray[np.int64],
    inside: NDArray[np.bool_],
    matched: NDArray[np.uint64],
    correct: NDArray[np.uint64],
    positives: NDArray[np.int64],
    recalls: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    thresholds = out.shape[1]
    width = max(1, positives.max()) if positives.size else 1
    bit, spacing = np.uint64(1), np.spacing(1.0)
    precision, reached = np.empty((thresholds, width)), np.empty((thresholds, width), np.int64)
    entries, hits = np.empty(thresholds, np.int64), np.empty(thresholds, np.int64)
    misses = np.empty(thresholds, np.int64)  # matched detections among those that would count against
    needed = np.empty(len(recalls), np.int64)
    run = 0
    for category in range(len(positives)):
        total = positives[category]
        if total == 0:
            out[category] = -1.0
            while run < len(tie_starts) - 1 and classes[tie_starts[run]] == category:
                run += 1
            continue
        entries[:] = 0
        hits[:] = 0
        misses[:] = 0
        detected = 0
        while run < len(tie_starts) - 1 and classes[tie_starts[run]] == category:
            first, end = tie_starts[run], tie_starts[run + 1]
            run += 1
            weight = copies[image[first]]
            if weight == 0:
                continue
            turns, step = (1, weight) if end - first == 1 else (weight, 1)
            for _ in range(turns):
                for detection in range(first, end):
                    within = step if inside[detection] else 0
                    detected += within
                    word, true = matched[detection], correct[detection]
                    if word == 0:
                        continue
                    for t in range(thresholds):
                        if (word >> np.uint64(t)) & bit:
                            misses[t] += within
                            if (true >> np.uint64(t)) & bit:
                                hits[t] += step
                                precision[t, entries[t]] = hits[t] / (
                                    float(detected - misses[t]) + float(hits[t]) + spacing
                                )
                                reached[t, entries[t]] = hits[t]
                                entries[t] += 1
        for r in range(len(recalls)):  # as accumulation.hits_needed
            wanted = max(int(np.floor(recalls[r] * total)) - 1, 0)
            while wanted / total < recalls[r]:
                wanted += 1
            needed[r] = max(wanted, 1)
        for t in range(thresholds):
            best, last = 0.0, entries[t]
            for r in range(len(recalls) - 1, -1, -1):
                while last > 0 and reached[t, last - 1] >= needed[r]:
                    best = max(best, precision[t, last - 1])
                    last -= 1
                out[category, t, r] = best
