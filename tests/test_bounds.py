"""Whole numbers of settings have bounds, in flags, files and calls alike; numbers in files mean what they look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt import train
from mapopt.agents import AgentTraining
from mapopt.bounds import check_seed, check_whole
from mapopt.cli import main
from mapopt.errors import ConfigError
from mapopt.experiments import compare
from mapopt.settings import load_settings, load_yaml


@pytest.mark.parametrize("value", [-1, 11, True, 1.5])
def test_a_number_outside_of_its_bounds_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^count is .*: expected a whole number from 0 to 10$"):
        check_whole("count", value, 0, 10)
    check_whole("count", 10, 0, 10)
    check_seed(np.int64(5))  # type: ignore[arg-type]


CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: train(images=64, rounds=2, seed=-1, device="cpu"), "seed is -1"),
    (lambda: train(images=64, rounds=2, threads=100_000, device="cpu"), "threads is 100000"),
    (lambda: train(images=64, rounds=2, data_seed=2**40, device="cpu"), "data_seed is 1099511627776"),
    (lambda: train(images=64, rounds=2, recipe={"auxiliary": {"ap": -1.0}}), "the weight -1.0: expected 0 to 1000000"),
    (lambda: AgentTraining(seed=-1), "seed is -1"),
    (lambda: AgentTraining(workers=5000), "workers is 5000: expected a whole number from 0 to 1024"),
    (lambda: AgentTraining(learning_rate=float("nan")), "learning_rate is nan: expected more than 0, to 1"),
    (lambda: compare(workers=5000, device="cpu"), "workers is 5000: expected up to 1024 processes"),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_calls_have_the_bounds_of_flags(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "train-agent", "watch"])
def test_every_command_refuses_a_seed_below_zero(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--seed", "-1"]) == 2
    said = capsys.readouterr().err
    assert said == f"mapopt {command}: error: seed is -1: expected a whole number from 0 to 4294967295\n"


@pytest.mark.parametrize("content", ["", "# nothing\n", "{}\n", "---\n"])
def test_an_empty_file_of_settings_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"is empty\. Expected settings, such as"):
        load_settings(path)
    for command in ("train", "compare"):
        assert main([command, "--config", str(path)]) == 2
        assert f"{path}: is empty. Expected settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("010", 10), ("08", 8), ("-7", -7), ("+1", 1), ("1_000", 1000), ("0x10", 16), ("0o10", 8), ("0b11", 3)),
        *(("1e-3", 0.001), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-.5e2", -50.0), (".inf", float("inf"))),
        *(("12:30", "12:30"), ("1:30:00", "1:30:00"), ("2001-02-03", "2001-02-03"), ("1.2.3", "1.2.3")),
    ],
)
def test_numbers_in_files_mean_what_they_look_like(tmp_path: Path, written: str, value: object) -> None:
    (tmp_path / "c.yaml").write_text(f"value: {written}\n")
    read = load_yaml(tmp_path / "c.yaml")["value"]
    assert (type(read), read) == (type(value), value)
