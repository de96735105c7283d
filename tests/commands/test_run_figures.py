"""A run's folder has its figures at the end, they change nothing of it, and `mapopt plot` draws them again."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mapopt.cli import main
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.run_files import FIGURES

Refused = Callable[..., str]

TINY = [
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]
"""Those of the folder `trained`, which has no figures."""


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def test_a_run_draws_itself_and_plot_draws_the_same(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    assert not [name for name in FIGURES if (trained / name).exists()], "drawn although it was not to be"
    run = tmp_path / "a run"
    assert main(["train", *TINY, "--out", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"figures: {', '.join(FIGURES)}"
    assert said[-2].endswith("result.json")
    drawn = {name: pixels(run / name) for name in FIGURES}
    # Nothing of the run is another for it.
    for name in ("best.pt", "last.pt"):
        ours, theirs = (Checkpoint.load(folder / name).snapshot.tensors for folder in (run, trained))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert (run / "config.yaml").read_text() == (trained / "config.yaml").read_text().replace(str(trained), str(run))

    # A finished run is left alone, but for what is missing.
    (run / "labels.png").unlink()
    before = (run / "results.png").stat().st_mtime_ns
    assert main(["train", *TINY, "--out", str(run), "--resume", "--figures", "False"]) == 0
    assert not (run / "labels.png").exists()
    assert main(["train", *TINY, "--out", str(run), "--resume"]) == 0
    assert pixels(run / "labels.png") == drawn["labels.png"]
    after = (run / "results.png").stat().st_mtime_ns
    assert main(["train", *TINY, "--out", str(run), "--resume"]) == 0
    assert (run / "results.png").stat().st_mtime_ns == after > before, "drawn although all were there"

    # A run that was killed is drawn as far as it got.
    for name in FIGURES:
        (run / name).unlink()
    (run / "result.json").unlink()
    capsys.readouterr()
    assert main(["plot", str(run), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{run}: {', '.join(FIGURES)}\n"
    assert all(pixels(run / name) == drawn[name] for name in FIGURES if name != "results.png"), "of the same weights"
    assert pixels(run / "results.png") != drawn["results.png"], "nothing is known of a test"

    checkpoint = Checkpoint.load(run / "best.pt")
    checkpoint.settings["fingerprints"]["train"] = "others"
    checkpoint.save(run / "best.pt")
    assert "the images or annotations are not those that it was trained with" in refused("plot", run)


def test_a_diverged_run_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapopt.training import packing

    clip = packing.clip_rows
    monkeypatch.setattr(packing, "clip_rows", lambda *given: (clip(*given)[0], clip(*given)[1] * float("nan")))
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"figures: {', '.join(FIGURES)}"
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"


def test_without_matplotlib_a_run_ends_well_and_says_how_to_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    run = tmp_path / "run"
    assert main(["train", *TINY, "--images", "16", "--rounds", "1", "--out", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        f"no figures: matplotlib is not installed (pip install matplotlib); `mapopt plot {run}` draws them later"
    )
    assert (run / "result.json").is_file()
    assert not list(run.glob("*.png"))
    assert main(["plot", str(run)]) == 2
    assert "matplotlib is not installed, which draws: pip install matplotlib" in capsys.readouterr().err


def test_plot_says_what_is_wrong_with_a_run(trained: Path, tmp_path: Path, refused: Refused) -> None:
    assert "no such folder" in refused("plot", tmp_path / "none")
    assert "holds no run with a finished round (no best.pt)" in refused("plot", tmp_path)
    assert "--seeds is given, but it says nothing about the run" in refused("plot", trained, "--seeds", 3)
    assert "--detector is about a run's folder, and none is given" in refused("plot", "--detector", "own:detector")


def test_ctrl_c_while_figures_are_drawn_leaves_the_run_and_no_half_of_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapopt.drawing import run_figures

    def interrupted(*given: object, **named: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_figures, "_train_batch", interrupted)
    run = tmp_path / "run"
    assert main(["train", *TINY, "--images", "16", "--rounds", "1", "--out", str(run)]) == 130
    assert f"The run is finished; `mapopt plot {run}` draws its figures." in capsys.readouterr().err
    assert (run / "result.json").is_file()
    assert not list(run.glob("*.png"))
