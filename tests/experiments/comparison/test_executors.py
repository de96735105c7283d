"""Jobs are done in this process or in workers, and whatever goes wrong in them is reported where they were started."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mapopt.errors import ConfigError, WorkerError
from mapopt.experiments.comparison.executors import WorkerDied, run_jobs

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


def fill(job, report):
    raise MemoryError("8 EiB")


def die_once(job, report):
    number, folder = job
    report((number, os.getpid()))
    mark = os.path.join(folder, str(number))
    if number == 2 and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), 9)
    report((10 * number, os.getpid()))


def last(job, report):
    import time

    report((job, os.getpid()))
    time.sleep(60)
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
        ("die", WorkerError, r"a worker process died twice at the same runs \(exit status 5\): use fewer workers"),
        ("fill", WorkerError, r"the memory does not suffice \(8 EiB\): use fewer or smaller images"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_raised_in_the_parent(
    name: str, error: type[Exception], message: str, work: ModuleType
) -> None:
    with pytest.raises(error, match=message):
        run_jobs(getattr(work, name), [1, 2], print, workers=2)


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_is_done_once_more(work: ModuleType, tmp_path: Path) -> None:
    events: list[Any] = []
    run_jobs(work.die_once, [(number, str(tmp_path)) for number in (1, 2, 3, 4)], events.append, workers=2)
    died = [event for event in events if isinstance(event, WorkerDied)]
    assert [event.job for event in died] == [(2, str(tmp_path))]
    assert str(died[0]) == (
        "a worker process died (killed by SIGKILL, as systems do when memory runs out); its runs begin once more"
    )
    numbers = [event[0] for event in events if not isinstance(event, WorkerDied)]
    assert sorted(numbers) == [1, 2, 2, 3, 4, 10, 20, 30, 40]


RUNS = """
import sys
sys.path.insert(0, sys.argv[1])
from mapopt.processes import signals_interrupt
from mapopt.experiments.comparison.executors import run_jobs
import work_of_mine

if __name__ == "__main__":
    with signals_interrupt():
        run_jobs(work_of_mine.last, [1, 2], lambda event: print(event[1], flush=True), workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])  # SIGHUP is met as SIGTERM is
def test_workers_end_with_the_process_that_started_them(
    work: ModuleType, tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "runs.py"
    script.write_text(RUNS)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(number)
    process.wait(timeout=120)
    for _ in range(600):
        if not any(is_running(worker) for worker in workers):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a worker outlives the process that started it")


def is_running(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_script_that_starts_workers_when_it_is_imported_says_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    alone = subprocess.run([sys.executable, str(script), "1"], capture_output=True, text=True, timeout=100)
    assert alone.stdout.split() == ["1", "2"]
    both = subprocess.run([sys.executable, str(script), "2"], capture_output=True, text=True, timeout=100)
    assert 'below `if __name__ == "__main__":`, or give workers=1' in both.stderr.splitlines()[-1]
    assert both.stderr.count("Traceback") <= 1, "workers leave silently"
