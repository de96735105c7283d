"""`mapopt diagnose` and `mapopt.diagnose`: what they print, write and refuse, and that they change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import mapopt
from mapopt.cli import main
from mapopt.data import Splits
from mapopt.errors import ConfigError, StoreError
from mapopt.training.diagnosis.checks import CHECKS
from mapopt.training.diagnosis.findings import measured, ranked
from mapopt.training.diagnosis.kinds import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "diagnose.md"
SMALL = [
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "64", "32", "8", "--device", "cpu"),
    *("--images", "1280", "--recipe.batch-size", "4", "--rounds", "10"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a score threshold that cuts off a ranking loss, of which only the folder is left."""
    folder = tmp_path_factory.mktemp("runs") / "cut"
    assert main(["train", *SMALL, "--recipe.loss", "ap", "--knobs.score-threshold", "0.6", "--out", str(folder)]) == 0
    return folder


def test_a_run_says_by_itself_why_it_is_at_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "--recipe.loss", "ap", "--knobs.score-threshold", "0.6", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("objects in train / val / test: disc ")
    assert lines[2] == (
        "score threshold 0.6 with loss 'ap', which sets no scale of scores: it may cut off every box, and AP is then 0"
    )
    (said,) = [line for line in lines if line.startswith("val AP is 0.0000 after 10% of the budget: ")]
    assert "the score threshold 0.6 costs AP: 0.000 with it" in said
    assert said.endswith("Try: --knobs.score-threshold 0")


def test_what_a_run_says_changes_none_of_its_bits(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"images": 320, "rounds": 20, "device": "cpu", "knobs": {"lr": 1e-4}}
    spoken = mapopt.train(splits, progress=True, **options)  # type: ignore[arg-type]
    monkeypatch.setattr("mapopt.training.explainer.is_due", lambda history, budget: False)
    silent = mapopt.train(splits, progress=True, **options)  # type: ignore[arg-type]
    assert [played.val for played in spoken.history] == [played.val for played in silent.history]


def test_the_folder_of_a_run_is_diagnosed_and_left_as_it_is(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    capsys.readouterr()
    assert main(["diagnose", str(trained), "--out", str(tmp_path / "out"), "--figures"]) == 0
    printed = capsys.readouterr().out
    assert "1. warning: the score threshold costs AP [fraction of AP lost: 1; a finding is 0.05 or more]" in printed
    assert "   try: --knobs.score-threshold 0 (measured: +" in printed
    assert "few_epochs" in printed
    assert "not looked at: ids, annotations, leaks (no folder to audit)" in printed
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
    document = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert document["findings"][0]["kind"] == "score_threshold"
    assert document["findings"][0]["price"] > 0
    assert {"warmup", "few_steps", "cause"} <= {figure["kind"] for figure in document["figures"]}


def test_json_is_printed_alone_and_checks_can_be_chosen(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diagnose", str(trained), "--json", "--checks", "threshold"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [figure["kind"] for figure in document["figures"]] == ["score_threshold"]


def test_the_exit_status_follows_the_severity_where_it_is_asked_for(trained: Path) -> None:
    assert main(["diagnose", str(trained), "--fail-on", "warning", "--checks", "threshold"]) == 3
    assert main(["diagnose", str(trained), "--fail-on", "error", "--checks", "threshold"]) == 0
    assert main(["diagnose", str(trained), "--fail-on", "warning", "--checks", "warmup"]) == 0


def test_a_range_test_says_which_rate_begins_best(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *SMALL[:11], "--checks", "warmup", "--range-test", "--figures", "--knobs.lr", "3"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: another learning rate begins better" in printed
    assert "64 times below the run's 3 (rate: loss 0.047: " in printed
    assert "try: --knobs.lr 0." in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder. Give the --out of `mapopt train`."),
        (["."], ".: holds no run (no config.yaml): give the --out of mapopt train"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--checks", "thresold"], "unknown check 'thresold': did you mean 'threshold'?"),
        (["--sample", "0"], "sample is 0: expected 1 image of each split, or more"),
        (["runs", "--images", "640"], "--images is given beside the run in runs, whose own settings count"),
        (["--detector", "mine:Mine"], "--detector is given without the folder of a run: give --recipe.detector"),
        (["--hours", "2"], "--hours is given, and how many images that is, is known once the run has begun"),
        (["--images", "1"], "images is 1: expected 20 rounds of whole steps of 16"),
    ],
)
def test_mistakes_are_said_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagnose", *arguments]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_folder_with_something_in_it_is_refused_before_anything_is_read(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(trained), "--out", str(trained)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_python_diagnoses_runs_in_memory_folders_and_settings(trained: Path, splits: Splits) -> None:
    run = mapopt.train(splits, images=320, rounds=20, device="cpu")
    in_memory = mapopt.diagnose(run)
    assert {finding.kind for finding in in_memory.findings[:2]} == {"few_epochs", "few_steps"}
    assert "gap" not in in_memory.left_out
    assert mapopt.diagnose(trained, device="cpu", checks=["threshold"]).alarms[0].kind == "score_threshold"
    before = mapopt.diagnose(data=splits, images=320, schedule={"warmup": 1.0})
    assert {finding.kind for finding in before.alarms} == {"warmup", "few_epochs", "few_steps"}
    assert set(before.left_out) == {
        name for name, check in CHECKS.items() if check.need in ("audit", "rounds", "detector")
    }


def test_a_budget_in_epochs_is_counted_in_images(splits: Splits) -> None:
    diagnosis = mapopt.diagnose(data=splits, epochs=20, checks=["budget"])
    assert {figure.kind: figure.figure for figure in diagnosis.figures} == {"few_epochs": 20.0, "few_steps": 160}


def test_python_refuses_settings_beside_a_run(trained: Path) -> None:
    with pytest.raises(ConfigError, match="images is given beside a run, whose own settings count"):
        mapopt.diagnose(trained, images=640)
    with pytest.raises(StoreError, match="nothing: no such folder"):
        mapopt.diagnose(trained / "nothing")


def test_a_run_without_rounds_or_checkpoints_yet_is_diagnosed(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    diagnosis = mapopt.diagnose(tmp_path)
    assert not diagnosis.alarms
    assert diagnosis.left_out["steps"] == "no round yet"


def test_findings_stand_in_the_order_of_evidence() -> None:
    given = [
        measured("stalled", 0.9, "a symptom", ""),
        measured("warmup", 0.6, "weak", ""),
        measured("metric", 4.0, "a note", ""),
        measured("few_steps", 3, "strong", ""),
        measured("leak", 0.06, "an error", ""),
    ]
    assert [finding.kind for finding in ranked(given)] == ["leak", "few_steps", "warmup", "stalled", "metric"]
    assert measured("warmup", 0.5, "", "").counts
    assert not measured("warmup", 0.49, "", "").counts
    assert measured("few_steps", 75, "", "").evidence == 0.5
    assert measured("unread", 1, "", "").evidence == 1.0
    assert measured("strange_boxes", -3, "", "").evidence == 1.0
    assert measured("warmup", 0.1, "", "").evidence == 0.0


def test_the_page_has_every_kind_with_its_threshold_and_every_check() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        bound = f"{kind.threshold:g} or {'less' if kind.falls else 'more'}"
        assert f"| `{name}` | {kind.severity} | {kind.figure} | {bound} | {kind.source} |" in page
    for name in CHECKS:
        assert f"`{name}`" in page


def test_a_killed_command_keeps_nothing(trained: Path, tmp_path: Path, interrupts: Callable[[str], None]) -> None:
    interrupts("mapopt.training.diagnosis.diagnose.diagnose_run")
    assert main(["diagnose", str(trained), "--out", str(tmp_path / "out")]) == 130
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def interrupt(where: str) -> None:
        def stop(*arguments: object, **named: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(where, stop)

    return interrupt
