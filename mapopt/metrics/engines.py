"""Which code does the counting: numpy at once, or compiled kernels once they pay.

Compiled kernels take about half the time. Loading them costs a process a hundredth of a second, or a tenth where no
image of them is kept, and compiling them many seconds, once on a machine. So ``auto`` works in numpy until numpy has
cost the process a multiple of what loading will cost, and loads them then: one evaluation never waits, and a dozen get
the kernels. All engines give the same bits, so the change is never seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import Loading, load_kernels, loading, why_missing
from mapopt.errors import ConfigError, unknown_name
from mapopt.metrics import accumulation, matching
from mapopt.metrics.accumulation import Curves, range_parts
from mapopt.metrics.layout import Layout
from mapopt.metrics.matching import Matches, tracks_up_to_level
from mapopt.metrics.settings import Settings

Backend = Literal["auto", "numpy", "numba", "pycocotools"]
BACKENDS: Sequence[str] = ("auto", "numpy", "numba", "pycocotools")

LOADING_SECONDS: Mapping[Loading, float] = {"in use": 0.01, "read": 0.1, "compile": 10.0}
"""Processor seconds until the compiled kernels work, as measured on a busy machine (AMD EPYC, Python 3.11)."""

PATIENCE = 3.0
"""How many times what loading costs numpy may cost first. numpy takes three quarters of what the fastest other package
takes, or less (`mapopt bench ap`), so by then loading is paid by what was saved: the sum never comes above theirs."""


@dataclass(frozen=True)
class Engine:
    """The two inner loops of an evaluation.

    Attributes:
        match_pairs: As `mapopt.metrics.matching.match_pairs`.
        accumulate: As `mapopt.metrics.accumulation.accumulate`.
    """

    match_pairs: Callable[[Layout, NDArray[np.float64], NDArray[np.uint64], int], Matches]
    accumulate: Callable[[Layout, Settings, NDArray[np.bool_], list[Matches]], Curves]


NUMPY = Engine(matching.match_pairs, accumulation.accumulate)


def pays(spent: float, state: Loading) -> bool:
    """Says whether to load the compiled kernels.

    Args:
        spent: Processor seconds that numpy has cost this process.
        state: What loading means here.

    >>> pays(0.05, "in use"), pays(0.05, "read"), pays(0.5, "read")
    (True, False, True)
    """
    return spent > PATIENCE * LOADING_SECONDS[state]


@dataclass
class _Choice:
    """What ``auto`` has learnt in this process; it decides about speed only, never about a number."""

    spent: float = 0.0
    compiled: Engine | None = None


_choice = _Choice()

_KERNELS = "mapopt.metrics.kernels"


def check_backend(backend: str) -> None:
    """Refuses a backend that does not exist, or numba where it is not installed.

    Raises:
        ConfigError: With the names that exist, or with what to install.
    """
    if backend not in BACKENDS:
        raise ConfigError(unknown_name("backend", str(backend), BACKENDS))
    if backend == "numba" and _compiled() is None:
        raise ConfigError(
            f"backend 'numba' cannot be loaded ({why_missing(_KERNELS)}): install numba, or use backend 'numpy', "
            "which gives the same numbers"
        )


def match_all(layout: Layout, settings: Settings, engine: Engine) -> tuple[NDArray[np.bool_], list[Matches]]:
    """Returns ``[a, g]`` ground truths that are ignored in a range, and the matches of every part of the tracks.

    A part has at most 64 tracks; with COCO's settings there is one.
    """
    ignored = layout.truth_crowd | settings.outside(layout.truth_area)
    matches = []
    for ranges, thresholds in range_parts(settings):
        levels = settings.matching_thresholds[thresholds]
        whole = int(tracks_up_to_level(len(levels), 1)[-1])
        words = np.zeros(len(layout.truth_crowd), np.uint64)
        skipped = ignored[ranges]
        for number, row in enumerate(skipped):
            words[row] |= np.uint64(whole << (number * len(levels)))
        matches.append(engine.match_pairs(layout, levels, words, len(skipped)))
    return ignored, matches


def curves_of(layout: Layout, settings: Settings, backend: str) -> Curves:
    """Matches and counts, and remembers how long numpy took."""
    engine = engine_for(backend)
    begin = time.thread_time()
    curves = engine.accumulate(layout, settings, *match_all(layout, settings, engine))
    if engine is NUMPY and backend == "auto":
        _choice.spent += time.thread_time() - begin
    return curves


def engine_for(backend: str) -> Engine:
    """Returns the engine that works best for this process by now."""
    if backend == "numba" or (backend == "auto" and (_choice.compiled or _compiled_pays())):
        return _compiled() or NUMPY
    return NUMPY


def _compiled_pays() -> bool:
    # The cheapest case first: where it does not pay, nothing has to be looked up.
    return pays(_choice.spent, "in use") and pays(_choice.spent, loading(_KERNELS, "_accumulate"))


def _compiled() -> Engine | None:
    """Returns the compiled engine, None where numba is missing or does not work."""
    kernels = load_kernels(_KERNELS) if _choice.compiled is None else None
    if kernels is not None:
        _choice.compiled = Engine(kernels.match_pairs, kernels.accumulate)
    return _choice.compiled
