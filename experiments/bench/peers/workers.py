"""A process for every evaluator, which runs when it is asked to: none has memory, threads or crashes of another.

So evaluators can take turns, the memory that one needs is its own, and one that dies is a line in a table.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from mapopt.experiments.bench.cost import clock
from mapopt.experiments.bench.peers.average_precision import Peer
from mapopt.experiments.bench.peers.sets import BoxSet, SetSize, make_set

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
"""What libraries of C++ and Rust read about threads; the processor time of others would count."""

WARM_UP = SetSize(images=8, categories=5, objects=5, detections=20)
"""A set on which every evaluator loads and compiles."""


class PeerError(Exception):
    """An evaluator failed; the message is one line."""


@dataclass(frozen=True)
class Turn:
    """The fastest of a few runs in a row.

    Attributes:
        convert: Processor seconds from arrays to what the evaluator takes.
        evaluate: Processor seconds from that to the numbers.
        stats: ``[12]`` numbers.
        memory: Bytes that the process held beyond what it held before, at the peak, NaN where the system does not say.
    """

    convert: float
    evaluate: float
    stats: NDArray[np.float64]
    memory: float

    @property
    def total(self) -> float:
        """Processor seconds from arrays to numbers."""
        return self.convert + self.evaluate


class Worker:
    """An evaluator in its own process, with a set in memory and everything loaded.

    Args:
        peer: The evaluator.
        size: Of the set.
        seed: Of the set.
    """

    def __init__(self, peer: Peer, size: SetSize, seed: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, peer, size, seed), daemon=True)
        with variables(ONE_THREAD):
            self._process.start()
        theirs.close()

    def run(self, seconds: float) -> Turn:
        """Runs once, and again until some processor time has passed.

        Raises:
            PeerError: The evaluator failed, or its process died.
        """
        try:
            self._connection.send(seconds)
            answer: Turn | str = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise PeerError(f"its process died with exit code {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise PeerError(answer)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


def run_in_turn(peer: Peer, boxes: BoxSet, seconds: float) -> Turn:
    """Does in this process what a worker does in its own."""
    before = _reset_peak()
    fastest = _once(peer, boxes)
    memory = _status("VmHWM") - before
    spent = fastest.total
    while spent < seconds:
        again = _once(peer, boxes)
        spent += again.total
        fastest = min(fastest, again, key=lambda turn: turn.total)
    return Turn(fastest.convert, fastest.evaluate, fastest.stats, memory)


def _once(peer: Peer, boxes: BoxSet) -> Turn:
    read = clock()
    begin = read()
    converted = peer.convert(boxes)
    middle = read()
    stats = peer.evaluate(converted)
    end = read()
    return Turn(middle - begin, end - middle, stats, float("nan"))


def _serve(connection: Connection, peer: Peer, size: SetSize, seed: int) -> None:
    """Answers every request until the other side is gone; what packages print goes nowhere."""
    with suppress(KeyboardInterrupt, EOFError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        boxes: BoxSet | None = None
        while True:
            seconds = connection.recv()
            try:
                if boxes is None:
                    boxes = make_set(size, seed=seed)
                    run_in_turn(peer, make_set(WARM_UP, seed=1), 0)
                    gc.collect()
                answer: Turn | str = run_in_turn(peer, boxes, seconds)
            except Exception as error:  # whatever it is, it is the other package's, and the table says so
                answer = one_line(error)
            connection.send(answer)


def one_line(error: Exception) -> str:
    """Returns what an error says, in one short line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:120]


def _reset_peak() -> float:
    """Forgets the largest memory so far, and returns the present one in bytes."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    """Returns a number of bytes that Linux keeps about this process, NaN on other systems."""
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * float(lines[name].split()[0])
    except (OSError, KeyError):
        return float("nan")


@contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """Sets variables for processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
