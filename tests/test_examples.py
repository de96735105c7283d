"""The examples run, editors find nothing wrong with them, and every mistake in an own part is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapopt.agents import load_agent
from mapopt.cli import main
from mapopt.envs import DetectorTrainingEnv
from mapopt.errors import MapoptError
from mapopt.experiments import compare
from mapopt.training import Budget, Recipe, Trainer, run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OWN_PARTS = EXAMPLES / "own_parts.py"


def test_the_newcomers_script_is_short() -> None:
    assert len(OWN_PARTS.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.slow
def test_the_newcomers_script_trains_and_compares_its_parts(tmp_path: Path) -> None:
    script = tmp_path / OWN_PARTS.name
    script.write_bytes(OWN_PARTS.read_bytes())
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for method in ("hinge", "ssd", "halving", "agent"):
        assert f"'method': '{method}'" in done.stdout
        assert len(list((tmp_path / "runs" / "own" / "two" / method).glob("*/run.json"))) == 2
    result = json.loads((tmp_path / "runs" / "train" / "result.json").read_text())
    assert result["images"] == 64


def _runs(example: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], cwd=cwd, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len((EXAMPLES / example).read_text(encoding="utf-8").splitlines()) < 25
    return done.stdout


def test_the_autopilot_rescues_a_classifier_from_a_rate_that_is_far_off(tmp_path: Path) -> None:
    accuracy = float(_runs("autopilot_classifier.py", tmp_path).split()[1].strip(","))
    assert accuracy > 0.9


@pytest.mark.slow
def test_the_autopilot_rescues_a_torchvision_detector_from_a_rate_that_is_far_off(tmp_path: Path) -> None:
    losses = [
        float(line.split("loss ")[1].split(",")[0]) for line in _runs("autopilot_torchvision.py", tmp_path).splitlines()
    ]
    assert losses[-1] < 0.2 * losses[0]


def test_editors_find_nothing_wrong_with_the_examples() -> None:
    pytest.importorskip("pyright", reason="the examples are read by pyright, which is in the extra 'dev'")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(EXAMPLES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["errorCount"] == 0, report["generalDiagnostics"]
    assert report["summary"]["filesAnalyzed"] >= 1


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Recipe.of(loss="own_parts:hing").own_knobs, "unknown attribute 'hing': did you mean 'hinge'"),
    (lambda: Recipe.of(loss="own_part:hinge").own_knobs, "there is no module 'own_part'"),
    (lambda: Recipe.of(loss=3), "of type int"),
    (lambda: Recipe.of(loss=lambda scores, labels, where: scores.sum()), "define it at the top of a module"),
    (lambda: Recipe.of(detector=3), "of type int"),
    (lambda: Recipe.of(optimizer="own_parts"), "unknown optimizer 'own_parts'"),
    (lambda: Recipe.of(optimizr="sgd"), "did you mean 'optimizer'"),
    (lambda: DetectorTrainingEnv("own_parts:TwoClass"), "unknown attribute 'TwoClass'"),
    (lambda: DetectorTrainingEnv(reward=3), "of type int"),
    (lambda: DetectorTrainingEnv(reward="nowhere:high_iou"), "there is no module 'nowhere'"),
    (lambda: DetectorTrainingEnv(features=("ap", 3)), "of type int"),
    (lambda: DetectorTrainingEnv(features=("app",)), "unknown feature 'app'"),
    (lambda: DetectorTrainingEnv(knobs=("margin",)), "unknown knob 'margin'"),
    (lambda: load_agent("runs/nowhere.zip"), "nowhere.zip"),
    (lambda: load_agent("own_parts:sac"), "unknown attribute 'sac'"),
    (lambda: compare(methods={"mine": 3}), "of type int"),
    (lambda: compare(methods={"mine": "own_parts:Halvin"}), "unknown attribute 'Halvin'"),
    (lambda: compare(agent="nobody"), "unknown agent 'nobody'"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES)
def test_a_mistake_in_an_own_part_is_one_line(
    make: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MapoptError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_controller_that_decides_nothing_is_one_line(make_task: Callable[..., Any]) -> None:
    class Idle:
        def decide(self, history: object, task: object, budget: object) -> None:
            return None

    with pytest.raises(MapoptError, match="Decision") as caught:
        run(Trainer(make_task(), seed=0), Idle(), Budget(images=8, rounds=2))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe.loss", "own_parts:hing"], "did you mean 'hinge'"),
        (["--recipe.loss", "own_parts:hinge", "--recipe.loss-settings", "margn", "0.5"], "did you mean 'margin'"),
        (["--controller", "own_part:Halving"], "there is no module 'own_part'"),
        (["--recipe.detector", "own_parts:sdd"], "unknown attribute 'sdd'"),
    ],
)
def test_a_mistake_in_a_flag_is_one_line_and_nothing_is_written(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--out", str(tmp_path / "run"), *flags]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()
