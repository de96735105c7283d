"""Jobs are done in this process or in workers, and whatever goes wrong in them is reported where they were started."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.experiments.comparison.executors import run_jobs

WORK = """
import os

from mapopt.errors import ConfigError


def double(job, report):
    import torch

    report((job, 2 * job, os.getpid(), torch.get_num_threads()))


def refuse(job, report):
    raise ConfigError(f"job {job}: expected another")


def fail(job, report):
    return {}[job]


def die(job, report):
    os._exit(5)
"""

UNGUARDED = """
import sys
from mapopt.experiments.comparison.executors import run_jobs

def nothing(job, report):
    report(job)

run_jobs(nothing, [1, 2], print, workers=int(sys.argv[1]))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "work_of_mine.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("work_of_mine", None)
    return importlib.import_module("work_of_mine")


def test_a_single_worker_is_this_process_on_one_thread(work: ModuleType) -> None:
    events: list[tuple[int, ...]] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    run_jobs(work.double, [3, 1], events.append, workers=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(before)
    assert events == [(3, 6, os.getpid(), 1), (1, 2, os.getpid(), 1)]
    assert threads == 2, "afterwards torch has as many threads as before"


def test_without_jobs_nothing_happens(work: ModuleType) -> None:
    run_jobs(work.die, [], print, workers=4)


@pytest.mark.slow
def test_workers_divide_the_jobs_and_report_to_the_parent(work: ModuleType) -> None:
    events: list[tuple[int, ...]] = []
    run_jobs(work.double, [1, 2, 3], events.append, workers=2)
    assert sorted(event[:2] for event in events) == [(1, 2), (2, 4), (3, 6)]
    assert os.getpid() not in {event[2] for event in events}
    assert {event[3] for event in events} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("refuse", ConfigError, "expected another"),
        ("fail", RuntimeError, r"(?s)a job failed in a worker process:.*KeyError"),
        ("die", RuntimeError, "a worker died with exit code 5; what was finished is kept"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_raised_in_the_parent(
    name: str, error: type[Exception], message: str, work: ModuleType
) -> None:
    with pytest.raises(error, match=message):
        run_jobs(getattr(work, name), [1, 2], print, workers=2)


@pytest.mark.slow
def test_a_script_that_starts_workers_when_it_is_imported_says_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    alone = subprocess.run([sys.executable, str(script), "1"], capture_output=True, text=True, timeout=100)
    assert alone.stdout.split() == ["1", "2"]
    both = subprocess.run([sys.executable, str(script), "2"], capture_output=True, text=True, timeout=100)
    assert 'below `if __name__ == "__main__":`, or give workers=1' in both.stderr.splitlines()[-1]
    assert both.stderr.count("Traceback") <= 1, "workers leave silently"
