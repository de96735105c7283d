"""The first calls of an evaluator in a process that has made none: what they cost together, loading included.

An agent, or a loop over checkpoints, evaluates a few images a few dozen times; there it matters what a package loads
when it is first used. Importing a package is not counted, for nobody; what it imports or reads later is.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from mapopt.experiments.bench.cost import clock
from mapopt.experiments.bench.peers.average_precision import Peer
from mapopt.experiments.bench.peers.sets import BoxSet, SetSize, make_set
from mapopt.experiments.bench.peers.workers import ONE_THREAD, PeerError, one_line, variables

IMPORTS = {
    "mapopt": "mapopt.metrics",
    "pycocotools": "pycocotools.cocoeval",
    "vernier": "vernier.instance",
    "torchmetrics": "torchmetrics.detection",
}
"""What a program that uses a package imports at its top, where that is not the package itself."""

PATIENCE = 15.0
"""Seconds that the calls of one process may be expected to take; a larger number of calls is left out."""


def first_calls(peer: Peer, size: SetSize, seed: int, calls: Sequence[int]) -> tuple[float, ...]:
    """Starts a process, and returns the processor seconds of its first calls, from arrays to numbers.

    Args:
        peer: The evaluator.
        size: Of the set.
        seed: Of the set.
        calls: Ascending numbers of calls; those that would take too long are left out at the end.

    Raises:
        PeerError: The evaluator failed, or its process died.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, peer, size, seed, tuple(calls)), daemon=True)
    try:
        with variables(ONE_THREAD):
            process.start()
        theirs.close()
        answer: tuple[float, ...] | str = ours.recv()
    except (EOFError, OSError):
        process.join()
        raise PeerError(f"its process died with exit code {process.exitcode}") from None
    finally:
        ours.close()
        process.terminate()
        process.join()
    if isinstance(answer, str):
        raise PeerError(answer)
    return answer


def count_calls(peer: Peer, boxes: BoxSet, calls: Sequence[int]) -> tuple[float, ...]:
    """Does in this process what `first_calls` does in one of its own."""
    read = clock()
    sums: list[float] = []
    done, began = 0, read()
    for number in calls:
        if sums and sums[-1] / done * number > PATIENCE:
            break
        for _ in range(number - done):
            peer.evaluate(peer.convert(boxes))
        done = number
        sums.append(read() - began)
    return tuple(sums)


def _serve(connection: Connection, peer: Peer, size: SetSize, seed: int, calls: tuple[int, ...]) -> None:
    with suppress(KeyboardInterrupt, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        try:
            importlib.import_module(IMPORTS.get(peer.package, peer.modules[0]))
            answer: tuple[float, ...] | str = count_calls(peer, make_set(size, seed=seed), calls)
        except Exception as error:  # whatever it is, it is the other package's, and the table says so
            answer = one_line(error)
        connection.send(answer)
