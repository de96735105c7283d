"""Parts of `mapopt train` by flags: controllers and losses, by a name of ours or by the text of somebody's own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.settings import load_yaml
from mapopt.training.checkpoint import Checkpoint

Refused = Callable[..., str]

TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / "last.pt").snapshot.tensors


@pytest.mark.parametrize("controller", ["schedule", "constant", "plateau"])
def test_each_controller_decides_the_learning_rate(tmp_path: Path, controller: str) -> None:
    flags = [*TINY, "--controller", controller, "--knobs.lr", "0.1", "--out", str(tmp_path)]
    flags += {"schedule": ["--schedule.warmup", "0.5"], "plateau": ["--plateau.warmup", "0.5"]}.get(controller, [])
    assert main(["train", *flags]) == 0
    rates = [played.knobs.lr for played in Checkpoint.load(tmp_path / "last.pt").history]
    expected = {"schedule": [0.055, 0.1, 0.05, 1e-5], "constant": [0.1] * 4, "plateau": [0.055, 0.1]}[controller]
    assert rates[: len(expected)] == pytest.approx(expected)


OWN = """\
from mapopt.training import Decision


class Halving:
    def __init__(self, start: float = 0.1, factor: float = 0.5) -> None:
        self.start, self.factor = start, factor

    def decide(self, history, task, budget):
        return Decision(knobs=task.knobs.replace(lr=self.start * self.factor ** len(history)))
"""


def test_an_own_controller_is_named_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    (tmp_path / "own_halving.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = [*TINY, "--controller", "own_halving:Halving", "--out", "run"]
    assert main(["train", *flags, "--controller-settings", "start", "0.08"]) == 0
    rates = [played.knobs.lr for played in Checkpoint.load(tmp_path / "run" / "last.pt").history]
    assert rates == pytest.approx([0.08, 0.04, 0.02, 0.01])
    config = load_yaml(tmp_path / "run" / "config.yaml")
    assert (config["controller"], config["controller_settings"]) == ("own_halving:Halving", {"start": 0.08})
    again = ["--config", "run/config.yaml", "--out", "again", "--controller-settings", "start", "0.02"]
    assert main(["train", *again]) == 0
    assert Checkpoint.load(tmp_path / "again" / "last.pt").history[0].knobs.lr == 0.02
    said = refused("train", *flags, "--controller-settings", "start", "0.02", "--resume")
    assert "was begun with controller_settings.start 0.08, not 0.02" in said
    assert "unknown setting of controller 'own_halving:Halving' 'stat'" in refused(
        "train", *flags, "--controller-settings", "stat", "0.02"
    )
    assert "there is no module 'none'" in refused("train", *TINY, "--controller", "none:None", "--out", "other")


def test_a_planner_pays_for_its_trials_and_its_plan_is_replayed_for_one_budget(tmp_path: Path) -> None:
    flags = [*TINY, "--controller", "best_of_n", "--controller-settings", "n", "3", "--out", str(tmp_path / "run")]
    assert main(["train", *flags]) == 0
    again = ["--controller", "replay", "--controller-settings", "path", str(tmp_path / "run" / "plan.json")]
    assert main(["train", *TINY, *again, "--out", str(tmp_path / "again")]) == 0
    ours, theirs = tensors(tmp_path / "run"), tensors(tmp_path / "again")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "again")]
    assert [result["images"] for result in results] == [3 * 64, 64]
    assert [result["evaluated"] for result in results] == [3 * 4 * 8 + 8, 4 * 8 + 8]
    assert results[0]["test"] == results[1]["test"]


def test_a_run_is_replayed_by_the_path_of_its_folder(trained: Path, tmp_path: Path) -> None:
    flags = ["--controller", "replay", "--controller-settings", "path", str(trained), "--out", str(tmp_path / "again")]
    assert main(["train", *TINY, *flags]) == 0
    ours, theirs = tensors(trained), tensors(tmp_path / "again")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


LOSS = """\
import torch


def hinge(scores, labels, where=None, margin=1.0):
    signs = torch.where(labels > 0, 1.0, -1.0)
    return torch.relu(margin - signs * scores).square().mean()
"""


def test_an_own_loss_is_named_by_its_module_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    (tmp_path / "own_hinge.py").write_text(LOSS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = [*TINY, "--recipe.loss", "own_hinge:hinge", "--recipe.loss-settings", "margin"]
    assert main(["train", *flags, "0.3", "--out", "narrow"]) == 0
    assert main(["train", *flags, "3", "--out", "wide"]) == 0
    assert load_yaml(tmp_path / "narrow" / "config.yaml")["recipe"]["loss_settings"] == {"margin": 0.3}
    ours, theirs = tensors(tmp_path / "narrow"), tensors(tmp_path / "wide")
    assert not torch.equal(ours["weights"], theirs["weights"])
    assert main(["evaluate", "--checkpoint", "narrow", "--device", "cpu", "--resamples", "0"]) == 0, "needs no loss"
    said = refused("train", *TINY, "--recipe.loss", "own_hinge:hing", "--out", "other")
    assert said.startswith("loss 'own_hinge:hing': unknown attribute 'hing': did you mean 'hinge'?")
    said = refused("train", *flags, "0.3", "mergin", "2", "--out", "other")
    assert "mergin" in said
    assert not (tmp_path / "other").exists()
