"""Does jobs in worker processes, or in this one, and reports what they tell while they run.

A job is a frozen value with everything in it, and the work is a function that Python can import, so a worker needs
nothing of its parent but these. Workers are started afresh (spawn), which works on every system and with a GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, TypeVar

from mapopt.errors import MapoptError, WorkerError, out_of_memory
from mapopt.processes import describe_exit, end_with_parent, without_interrupts

Job = TypeVar("Job")
Event = TypeVar("Event")

_NAME = "mapopt worker"
_UNGUARDED = 77
"""Exit code of a worker that imports a script which starts workers when it is imported."""


@dataclass(frozen=True)
class WorkerDied:
    """What is reported where a worker died: its job is done once more, from its beginning."""

    job: Any
    how: str
    """How it ended, in words."""

    def __str__(self) -> str:
        return f"a worker process died ({self.how}); its runs begin once more"


@dataclass(frozen=True)
class _Message:
    """What a worker sends: something to report, or how a job ended."""

    kind: Literal["event", "done", "error", "crash"]
    content: Any = None


@dataclass
class _Task:
    """A job, and how often it was begun."""

    job: Any
    begun: int = 0


def run_jobs(
    work: Callable[[Job, Callable[[Event], None]], None],
    jobs: Sequence[Job],
    report: Callable[[Any], None],
    *,
    workers: int,
) -> None:
    """Does every job, the first ones first, each on one thread of the CPU.

    A worker that dies, such as one that the system kills when memory runs out, is replaced, and its job is done once
    more. Ctrl-C, SIGTERM and any error end the workers; so does the end of this process.

    Args:
        work: does one job, and calls its second argument with whatever there is to report.
        jobs: what there is to do.
        report: is called in this process with what is reported, in the order it comes, and with `WorkerDied`.
        workers: processes; a single one does its jobs in this process.

    Raises:
        MapoptError: a job met an error of the user's, or the workers cannot be started.
        WorkerError: the worker of one job died twice, or the memory does not suffice.
        RuntimeError: a job failed in a worker.
    """
    if multiprocessing.current_process().name.startswith(_NAME):
        sys.exit(_UNGUARDED)
    count = min(workers, len(jobs))
    if count <= 1:
        with _one_thread():
            for job in jobs:
                work(job, report)
        return
    waiting = deque(_Task(job) for job in jobs)
    processes: list[_Worker] = []
    try:
        processes += [_Worker(work, number) for number in range(count)]
        for worker in processes:
            worker.begin(waiting.popleft())
        while busy := [worker for worker in processes if worker.task is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                message = worker.receive()
                if message is None:
                    processes.remove(worker)
                    report(_died(worker))
                    processes.append(_Worker(work, worker.number))
                    processes[-1].begin(worker.task)
                elif message.kind == "event":
                    report(message.content)
                elif message.kind == "done":
                    worker.task = None
                    if waiting:
                        worker.begin(waiting.popleft())
                elif message.kind == "error":
                    raise message.content
                else:
                    raise RuntimeError(f"a job failed in a worker process:\n{message.content}")
    finally:
        for worker in processes:
            worker.process.terminate()
        for worker in processes:
            worker.process.join(timeout=10)


class _Worker:
    """A process with a pipe of its own: whatever happens to it, the others' pipes are whole."""

    def __init__(self, work: Callable[..., None], number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.task: _Task | None = None
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, theirs), name=f"{_NAME} {number}", daemon=True)
        with without_interrupts():
            self.process.start()
        theirs.close()

    def begin(self, task: _Task | None) -> None:
        """Sends it a job; that it died is found out where it is listened to."""
        assert task is not None
        self.task = task
        task.begun += 1
        with suppress(BrokenPipeError):
            self.connection.send(task.job)

    def receive(self) -> _Message | None:
        """Returns what it sent; None if it died."""
        try:
            message: _Message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(timeout=10)
            return None
        return message


def _died(worker: _Worker) -> WorkerDied:
    """Returns the report about a worker that died, or raises what makes another try useless."""
    how, task = describe_exit(worker.process.exitcode), worker.task
    assert task is not None
    if worker.process.exitcode == _UNGUARDED:
        raise MapoptError(
            "worker processes import the script that starts them, and would start it again: put what it runs "
            'below `if __name__ == "__main__":`, or give workers=1'
        )
    if task.begun > 1:
        raise WorkerError(
            f"a worker process died twice at the same runs ({how}): use fewer workers, lanes or images; finished runs "
            "are kept, and the same command goes on with the others"
        )
    return WorkerDied(task.job, how)


def _serve(work: Callable[[Any, Callable[[Any], None]], None], connection: Connection) -> None:
    """Does jobs until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    end_with_parent()
    with _one_thread():
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            try:
                work(job, partial(_send, connection))
                connection.send(_Message("done"))
            except MapoptError as error:
                connection.send(_Message("error", error))
            except Exception as error:
                said = out_of_memory(error)
                connection.send(_Message("error", WorkerError(said)) if said else _crash())


def _crash() -> _Message:
    return _Message("crash", traceback.format_exc())


def _send(connection: Connection, event: Any) -> None:
    connection.send(_Message("event", event))


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
