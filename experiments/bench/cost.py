"""Seconds and bytes of a piece of work, measured so that a busy machine disturbs them little.

The process's own time counts where one thread of a CPU works, contenders take turns, and the fastest turn counts.
Memory is the peak of torch's allocator above where it began: what numpy or the C library allocate is not in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Work = Callable[[], object]


def clock(device: torch.device | None = None) -> Callable[[], float]:
    """Returns a function that reads seconds.

    They are this process's processor time; on a GPU, and with several threads of torch, they are the wall's, for the
    processor's would leave out the one and add up the others.

    Args:
        device: where torch works; None for work in this process's one thread, which needs no torch.
    """
    if device is None:
        return time.process_time
    import torch

    if device.type == "cuda":

        def read() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return read
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def measure(work: Work, device: torch.device | None = None) -> float:
    """Returns the seconds of one turn."""
    read = clock(device)
    began = read()
    work()
    return read() - began


def fastest(
    works: Mapping[str, Work], *, repeats: int, device: torch.device, patience: float = 1.0
) -> dict[str, float]:
    """Returns the seconds of each work's fastest turn.

    Args:
        works: what takes turns.
        repeats: turns of each, at least one.
        device: of the work.
        patience: seconds after which a work gets no further turn.
    """
    best = dict.fromkeys(works, float("inf"))
    spent = dict.fromkeys(works, 0.0)
    for _ in range(repeats):
        for name, work in works.items():
            if spent[name] >= patience:
                continue
            seconds = measure(work, device)
            spent[name] += seconds
            best[name] = min(best[name], seconds)
    return best


def fastest_of(work: Work, *, repeats: int, device: torch.device | None = None) -> float:
    """Returns the seconds of a work's fastest turn."""
    return min(measure(work, device) for _ in range(repeats))


def extra_bytes(work: Work, device: torch.device) -> int:
    """Returns how much more memory torch held at once during the work than before it."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports that it starts and that there is no GPU
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    results = profile.kineto_results
    assert results is not None
    held = peak = 0
    for event in results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
