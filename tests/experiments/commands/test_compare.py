"""`mapopt compare` and `mapopt plot` from the outside: idempotent, resumable, and clear about what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mapopt.cli import main
from mapopt.experiments.comparison.config import load_experiment

CONFIG = """
name: small
budget: {images: 16, rounds: 2}
tasks:
  shapes: {images: [16, 8, 8]}
methods:
  baseline: {label: baseline, recipe: {batch_size: 4}, search: {grid: {lr: [0.1, 0.2]}, seeds: 2}}
  diverging: {label: diverging, recipe: {batch_size: 4, clip: 1.0e+30}, knobs: {lr: 3.0, box_weight: 20.0}}
seeds: 2
lanes: 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_a_comparison_is_trained_once_taken_up_where_it_was_and_drawn_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = ["compare", "--config", str(config), "--out", str(tmp_path / "runs"), "--workers", "1", "--device", "cpu"]
    assert main(compare) == 0
    out = capsys.readouterr().out
    assert "4 runs, 0 of them" in out
    assert "baseline" in out
    folder = tmp_path / "runs" / "small"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["reference"] == "baseline"
    assert list(folder.glob("*.png"))
    kept = folder / "shapes" / "baseline" / "0" / "run.json"
    before = kept.read_bytes(), kept.stat().st_mtime_ns

    shutil.rmtree(folder / "shapes" / "baseline" / "1")
    assert main(compare) == 0
    assert "3 of them" in capsys.readouterr().out
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == before

    assert main(compare) == 0
    assert "4 of them" in capsys.readouterr().out
    plot = ["plot", "--config", str(config), "--out", str(tmp_path / "runs")]
    assert main([*plot, "--reference", "diverging"]) == 0
    assert "vs diverging" in capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["reference"] == "diverging"
    (task,) = summary["tasks"]
    assert sum(task["objects"].values()) > 0
    assert all(method["step_seconds"] > 0 for method in task["methods"])

    shutil.rmtree(folder / "shapes" / "baseline")
    assert main(plot) == 2
    assert "holds no runs of the reference method 'baseline'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "nowhere.yaml"], "no such file"),
        (["--methods", "basline"], "did you mean 'baseline'"),
        (["--reference", "basline"], "unknown reference method 'basline': did you mean 'baseline'"),
        (["--sed", "3"], "unknown flag"),
        (["--seeds", "0"], "expected 1 or more"),
        (["--device", "tpu"], "tpu"),
        (["--data", "nowhere"], "nowhere"),
        (["--tasks", "shape"], "unknown task 'shape': did you mean 'shapes'"),
        (["--agent", "nobody"], "unknown agent 'nobody'"),
        (["--workers", "-1"], "workers is -1: expected up to 1024 processes"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2_and_nothing_is_written(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--out", str(tmp_path / "runs"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_plotting_without_runs_says_to_compare_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "--methods", "baseline", "--out", str(tmp_path / "runs")]) == 2
    assert "run `mapopt compare` first" in capsys.readouterr().err


def test_an_agent_and_some_tasks_are_named_by_flags(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--config", "losses_sgd", "--methods", "focal", "--tasks", "balanced", "--agent", "ppo-shapes"]
    assert main([*words, "--print-config"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    experiment = load_experiment(content)
    assert list(experiment.searched["balanced"]) == ["focal"]
    assert list(experiment.methods) == ["focal", "agent"]
    assert list(experiment.tasks) == ["balanced"]
    assert experiment.methods["agent"].controller.agent == "ppo-shapes"
    assert experiment.methods["agent"].search.of == "focal"


@pytest.mark.parametrize("module", ["commands.compare", "commands.bench", "comparison.options"])
def test_flags_are_read_and_experiments_checked_without_anything_heavy(module: str) -> None:
    heavy = ("torch", "torchvision", "scipy", "matplotlib", "gymnasium", "stable_baselines3", "pandas", "numba")
    code = (
        f"import sys, mapopt.experiments.{module}, mapopt.experiments\n"
        "mapopt.experiments.load_experiment('default').only(['baseline'])\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


def test_print_config_prints_the_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--methods", "baseline", "--seeds", "3", "--print-config"]) == 0
    out = capsys.readouterr().out
    assert "seeds: 3" in out
    assert "plateau:" not in out.split("methods:")[1].split("\n  baseline")[0]
