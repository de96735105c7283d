"""Does jobs in worker processes, or in this one, and reports what they tell while they run.

A job is a frozen value with everything in it, and the work is a function that Python can import, so a worker needs
nothing of its parent but these. Workers are started afresh (spawn), which works on every system and with a GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from typing import Any, Literal, TypeVar

from mapopt.errors import MapoptError

Job = TypeVar("Job")
Event = TypeVar("Event")

_NAME = "mapopt worker"
_UNGUARDED = 77
"""Exit code of a worker that imports a script which starts workers when it is imported."""


@dataclass(frozen=True)
class _Message:
    """What a worker sends: something to report, or how a job ended."""

    kind: Literal["event", "done", "error", "crash"]
    content: Any = None


def run_jobs(
    work: Callable[[Job, Callable[[Event], None]], None],
    jobs: Sequence[Job],
    report: Callable[[Event], None],
    *,
    workers: int,
) -> None:
    """Does every job, the first ones first, each on one thread of the CPU.

    Args:
        work: does one job, and calls its second argument with whatever there is to report.
        jobs: what there is to do.
        report: is called in this process with what is reported, in the order it comes.
        workers: processes; a single one does its jobs in this process.

    Raises:
        MapoptError: a job met an error of the user's, or the workers cannot be started.
        RuntimeError: a job failed in a worker, or a worker died.
    """
    if multiprocessing.current_process().name.startswith(_NAME):
        sys.exit(_UNGUARDED)
    count = min(workers, len(jobs))
    if count <= 1:
        with _one_thread():
            for job in jobs:
                work(job, report)
        return
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    waiting: Any = context.Queue()
    for content in (*jobs, *[None] * count):
        waiting.put(content)
    processes: list[SpawnProcess] = []
    try:
        for number in range(count):
            arguments = (work, waiting, messages)
            process = context.Process(target=_serve, args=arguments, name=f"{_NAME} {number}", daemon=True)
            process.start()
            processes.append(process)
        left = len(jobs)
        while left:
            message = _next(messages, processes)
            if message.kind == "error":
                raise message.content
            if message.kind == "crash":
                raise RuntimeError(f"a job failed in a worker process:\n{message.content}")
            if message.kind == "event":
                report(message.content)
            left -= message.kind == "done"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


def _next(messages: Any, processes: Sequence[SpawnProcess]) -> _Message:
    while True:
        try:
            message: _Message = messages.get(timeout=2.0)
            return message
        except queue.Empty:
            codes = [process.exitcode for process in processes if process.exitcode not in (None, 0)]
            if _UNGUARDED in codes:
                raise MapoptError(
                    "worker processes import the script that starts them, and would start it again: put what it runs "
                    'below `if __name__ == "__main__":`, or give workers=1'
                ) from None
            if codes:
                raise RuntimeError(f"a worker died with exit code {codes[0]}; what was finished is kept") from None


def _serve(work: Callable[[Any, Callable[[Any], None]], None], waiting: Any, messages: Any) -> None:
    """Does jobs until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parent = multiprocessing.parent_process()
    with _one_thread():
        # A parent that was killed cannot end its workers: they finish the job they are at, which is kept, and stop.
        while parent is None or parent.is_alive():
            try:
                job = waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            if job is None:
                return
            try:
                work(job, partial(_send, messages))
                messages.put(_Message("done"))
            except MapoptError as error:
                messages.put(_Message("error", error))
            except Exception:
                messages.put(_Message("crash", traceback.format_exc()))


def _send(messages: Any, event: Any) -> None:
    messages.put(_Message("event", event))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets torch use one thread meanwhile: a busy neighbor slows two threads down many times."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
