"""`mapopt search` from the outside: its outcome is where the comparison reads it, and what is wrong is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mapopt.cli import main
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.options import make_experiment

CONFIG = """
# What is said here stays.
name: small
budget: {images: 16, rounds: 2}
tasks:
  shapes: {images: [16, 8, 8]}
methods:
  baseline: {recipe: {batch_size: 4}, search: {grid: {lr: [0.1, 0.2]}, seeds: 2}}
  plain: {recipe: {batch_size: 4}}
seeds: 2
lanes: 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_a_search_is_printed_kept_and_read_by_the_comparison(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    words = ["search", "--config", str(config), "--workers", "1", "--device", "cpu", "--out", str(out)]
    assert main([*words, "--beside-config"]) == 0
    text = capsys.readouterr().out
    assert "small: 1 search of 2 settings, 64 images in all; runs are kept in" in text
    assert "4 runs needed now, 4 missing, in 2 fleets" in text
    assert "baseline on shapes: rung 1 of 1, 2 settings, 2 seeds, 16 images a run:" in text
    assert "baseline on shapes: 4 runs, 64 images, " in text
    assert f"wrote {out / 'small' / 'searched.yaml'}" in text
    assert f"wrote {tmp_path / 'small.searched.yaml'}" in text
    assert config.read_text() == CONFIG
    searched = load_experiment(config).searched["shapes"]["baseline"]
    assert (searched.runs, searched.images) == (4, 64)
    assert searched.knobs["lr"] in (0.1, 0.2)
    (tmp_path / "small.searched.yaml").unlink()
    assert make_experiment(config, (), {}, out=out).searched["shapes"]["baseline"] == searched

    kept = {path: path.stat().st_mtime_ns for path in (out / "small" / "searches").iterdir()}
    assert len(kept) == 4
    assert main(words) == 0
    assert "missing" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "small" / "searches").iterdir()} == kept
    next(iter(kept)).write_text("{")
    assert main(words) == 2
    assert "Remove it to train the run again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "basline"], "did you mean 'baseline'"),
        (["--methods", "plain"], "no method of experiment 'small' has a search space: give one at least a space"),
        (["--tasks", "shape"], "unknown task 'shape': did you mean 'shapes'"),
        (["--seed", "-1"], "seed is -1"),
        (["--device", "tpu"], "tpu"),
        (["--workers", "-1"], "workers is -1: expected up to 1024 processes"),
        (["--accept-stored", "--redo"], "give one of them"),
        (["--beside", "x"], "unknown flag '--beside'"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2_and_nothing_is_written(
    flags: list[str], message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--config", str(config), "--out", str(tmp_path / "runs"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_an_absent_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--config", str(tmp_path / "nowhere.yaml")]) == 2
    assert "no such file; give a configuration file, or one of augmentations, autopilot, " in capsys.readouterr().err


def test_a_space_that_makes_no_sense_is_one_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(CONFIG.replace("grid: {lr: [0.1, 0.2]}", "space: {recipe.los: [ap]}, settings: 2"))
    for command in ("search", "compare"):
        assert main([command, "--config", str(config), "--out", str(tmp_path / "runs")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(
            f"mapopt {command}: error: {config}: method 'baseline': recipe.los in the search space: unknown field "
            "'los': did you mean 'loss'? Known: "
        )
        assert error.count("\n") == 1


def test_print_config_prints_the_experiment(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--config", str(config), "--methods", "baseline", "--print-config"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert load_experiment(content) == load_experiment(config).only(["baseline"])


def test_flags_are_read_without_anything_heavy() -> None:
    heavy = (
        "torch",
        "torchvision",
        "scipy",
        "matplotlib",
        "gymnasium",
        "stable_baselines3",
        "pandas",
        "numba",
        "optuna",
        "cmaes",
    )
    code = (
        "import sys, mapopt.experiments.commands.search, mapopt.experiments\n"
        "mapopt.experiments.load_experiment('losses')\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []
