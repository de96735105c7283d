"""Spoilt input of every kind, from seeds: one line of ours or a fair result; never a traceback, hang or flood.

`pytest tests/fuzz` takes under a minute, `pytest tests/fuzz -m slow` ten times the seeds. A failure names kind and
seed: `python tests/fuzz/test_fuzz.py KIND SEED` runs that one and leaves its files.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fuzz_kinds import KINDS, Kind
from fuzz_mutations import REFUSE, SAME, fresh_copy

from mapopt.errors import MapoptError

SEEDS, MORE = 100, 500
SECONDS = 5  # that one input may take
MEMORY = 2**30  # bytes that the process may grow by for one input
LONGEST = 2000  # characters of a message, paths included


class Hang(BaseException):
    """An input took too long; no reader catches this."""


@contextmanager
def bounds() -> Iterator[None]:
    """Ends what takes too long, and refuses memory far beyond what there is."""

    def stop(*_: object) -> None:
        raise Hang

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _proc() else 0
    former = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, former[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, former)


def _proc() -> bool:
    return Path("/proc/self/statm").exists()


def problem(kind: Kind, folder: Path, verdict: str, good: Any) -> str:
    """Hands a spoilt input to its reader; says what is wrong with what came of it, or nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        with bounds(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = kind.read(folder)
    except MapoptError as error:
        said = str(error)
        if "\n" in said.strip() and said.strip().count("\n") > 1:
            return f"a message of several lines: {said[:200]!r}"
        if len(said.replace(str(folder), "")) > LONGEST:
            return f"a message of {len(said)} characters: {said[:200]!r}"
    except Hang:
        return f"takes longer than {SECONDS} s"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:150]} ({Path(last.filename).name}:{last.lineno})"
    else:
        if verdict == REFUSE or (verdict == SAME and result != good):
            return f"accepted, but {verdict}"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before > MEMORY:
        return "takes more than 1 GB"
    return ""


def attempt(name: str, seed: int, original: Path, place: Path, good: Any) -> str:
    """Spoils a copy by a seed and reads it; returns what is wrong, with what was done."""
    kind = KINDS[name]
    folder = fresh_copy(original, place)
    what, verdict = kind.spoil(random.Random(f"{name} {seed}"), folder)
    wrong = problem(kind, folder, verdict, good)
    return f"{name} {seed}: {what[:100]}: {wrong}" if wrong else ""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a good input of every kind is made when it is first asked for."""
    return tmp_path_factory.mktemp("originals")


def made(name: str, originals: Path) -> tuple[Path, Any]:
    """Returns the folder of a good input and what its reader makes of it."""
    folder = originals / name
    if not folder.exists():
        KINDS[name].make(folder)
    return folder, KINDS[name].read(folder) if name != "flags" else None


def run(name: str, seeds: range, originals: Path, place: Path) -> None:
    original, good = made(name, originals)
    problems = [attempt(name, seed, original, place, good) for seed in seeds]
    problems = [text for text in problems if text]
    assert not problems, f"{len(problems)} of {len(seeds)}:\n" + "\n".join(problems[:40])


@pytest.mark.parametrize("name", KINDS)
def test_spoilt_input_is_refused_in_one_line_or_read(name: str, originals: Path, tmp_path: Path) -> None:
    run(name, range(SEEDS), originals, tmp_path / "spoilt")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_more_spoilt_input_is_refused_in_one_line_or_read(name: str, originals: Path, tmp_path: Path) -> None:
    run(name, range(SEEDS, SEEDS + MORE), originals, tmp_path / "spoilt")


def test_a_thousand_inputs_are_tried() -> None:
    assert SEEDS * len(KINDS) >= 1000


if __name__ == "__main__":
    kind, number = sys.argv[1], int(sys.argv[2])
    place = Path("fuzz_input")
    good_folder, good_value = made(kind, place / "good")
    print(attempt(kind, number, good_folder, place / "spoilt", good_value) or "nothing wrong")
