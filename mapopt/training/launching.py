"""Starts the processes of a run on this machine, as ``mapopt train --processes N`` does.

Unlike torchrun it needs no address, ends with the status of the first process, and says nothing itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from mapopt.errors import WorkerError
from mapopt.processes import Interrupted, describe_exit, end_with_parent, without_interrupts
from mapopt.waiting import Waiting

GRACE = 60.0
"""Seconds that the others have to end by themselves once one process has failed."""


def launch(count: int, work: Callable[[], int]) -> int:
    """Does a piece of work in several processes that find each other; returns the status of the first.

    Args:
        count: how many.
        work: what each does; it returns an exit status, and can be pickled.

    Raises:
        WorkerError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    workers: list[BaseProcess] = []
    with Waiting("processes", announce=False, quiet=True):
        try:
            with without_interrupts():
                for index in range(count):
                    own = {**addresses, "RANK": str(index), "LOCAL_RANK": str(index)}
                    workers.append(context.Process(target=_work, args=(own, work), name=f"process {index}"))
                    workers[-1].start()
            _wait_for(workers)
        except KeyboardInterrupt as end:
            _signal(workers, signal.SIGTERM if isinstance(end, Interrupted) else signal.SIGINT)
        finally:
            _end(workers)
    failed = next((worker for worker in workers if (worker.exitcode or 0) < 0), None)
    if failed is not None and (workers[0].exitcode or 0) <= 0:
        raise WorkerError(
            f"{failed.name} of {count} was {describe_exit(failed.exitcode)}: the same command with --resume goes on "
            "after the last finished round"
        )
    return next((worker.exitcode for worker in workers if worker.exitcode), 0) or 0


def _work(environment: dict[str, str], work: Callable[[], int]) -> None:
    end_with_parent()
    # Ctrl-C comes from the parent, once.
    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ |= environment
    raise SystemExit(work())


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _wait_for(workers: Sequence[BaseProcess]) -> None:
    """Waits until all have ended, or one has failed."""
    left = list(workers)
    while left and not any(worker.exitcode for worker in workers):
        wait([worker.sentinel for worker in left])
        left = [worker for worker in left if worker.exitcode is None]


def _signal(workers: Sequence[BaseProcess], number: signal.Signals) -> None:
    for worker in workers:
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, number)


def _end(workers: Sequence[BaseProcess]) -> None:
    """Gives processes time to end by themselves, and ends them."""
    wait_until = [worker for worker in workers if worker.pid is not None]
    for worker in wait_until:
        worker.join(GRACE)
        if worker.is_alive():
            worker.kill()
            worker.join()
