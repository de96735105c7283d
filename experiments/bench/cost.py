"""Seconds and bytes of a piece of work, measured so that a busy machine disturbs them little.

Times are the process's own (on a GPU, the wall's, synchronised), contenders take turns, and the fastest turn counts.
Memory is the peak of torch's allocator above where it began: what numpy or the C library allocate is not in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


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


def measure(work: Work, device: torch.device) -> float:
    """Returns the seconds of one turn."""
    if device.type != "cuda":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def extra_bytes(work: Work, device: torch.device) -> int:
    """Returns how much more memory torch held at once during the work than before it."""
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
    now = most = 0
    for event in results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most
