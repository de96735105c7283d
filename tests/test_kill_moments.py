"""Killed at seeded moments, in steps and in the middle of writes, with and without workers, a run ends with its bits.

Moments are counted in events, not in seconds: the n-th step, image or half of a write is the same on any machine.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapopt.cli import main
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.engine import LaneEngine

MOMENTS = 10
"""With workers, and as many without."""


def count_events(before: Callable[[str], None]) -> None:
    """Calls a function before and after every write, before every step, and whenever images are asked for."""
    replace, step, ask = os.replace, LaneEngine._step, PixelsOnDemand.index_select

    def replaced(*arguments: Any, **more: Any) -> None:
        before(f"write of {Path(arguments[1]).name}")
        replace(*arguments, **more)
        before(f"after the write of {Path(arguments[1]).name}")

    def stepped(*arguments: Any) -> None:
        before("step")
        step(*arguments)

    def asked(*arguments: Any) -> Any:
        before("images")
        return ask(*arguments)

    os.replace, LaneEngine._step, PixelsOnDemand.index_select = replaced, stepped, asked  # type: ignore[assignment]


def in_a_process(words: list[str], kill_at: int, notes: Path) -> int | None:
    """Runs a command in a process that kills itself before an event; returns its exit status."""

    def work() -> None:
        events: list[str] = []

        def before(name: str) -> None:
            events.append(name)
            if len(events) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # of a process that ends
        count_events(before)
        status = main(words)
        notes.write_text("\n".join(events))
        os._exit(status)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(300)
    return process.exitcode


def outcome(out: Path) -> tuple[Any, ...]:
    states = [Checkpoint.load(out / name) for name in ("best.pt", "last.pt")]
    tensors = [{name: value.numpy().tobytes() for name, value in state.snapshot.tensors.items()} for state in states]
    result = json.loads((out / "result.json").read_text())
    names = sorted(path.name for path in out.iterdir())
    return names, tensors, {**result, "seconds": 0, "processor_seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, "2"])
def test_a_run_killed_at_any_event_ends_with_the_bits_of_the_unbroken_one(
    workers: str | None, tmp_path: Path, write_set: Callable[..., Path]
) -> None:
    words = ["train", "--data", str(write_set(tmp_path / "set")), "--size", "48", "64", "--recipe.batch-size", "4"]
    words += ["--images", "48", "--rounds", "4", "--figures", "False", "--device", "cpu", "--resume"]
    words += [] if workers is None else ["--workers", workers]
    notes = tmp_path / "events"
    assert in_a_process([*words, "--out", str(tmp_path / "whole")], 0, notes) == 0
    events = notes.read_text().splitlines()
    assert {"step", "write of last.pt", "after the write of last.pt", "write of best.pt"} <= set(events)
    assert ("images" in events) == (workers is not None)
    generator = random.Random(f"moments {workers}")
    writes = [place for place, name in enumerate(events, start=1) if ".pt" in name]
    moments = [*generator.sample(writes, 4), *generator.sample(range(1, len(events) + 1), MOMENTS - 4)]
    for number, moment in enumerate(moments):
        out = tmp_path / f"killed {number}"
        assert in_a_process([*words, "--out", str(out)], moment, notes) == -signal.SIGKILL
        assert in_a_process([*words, "--out", str(out)], 0, notes) == 0
        assert outcome(out) == outcome(tmp_path / "whole"), f"killed before event {moment}, {events[moment - 1]}"
