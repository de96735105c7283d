"""`mapopt train`: what it writes, that it can be killed anywhere, and what it refuses before it writes anything."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from mapopt.cli import main
from mapopt.commands.train import Train
from mapopt.data import ShapesConfig
from mapopt.settings import from_mapping, load_yaml, to_mapping
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.history import Round
from mapopt.training.recipe import Recipe

Refused = Callable[..., str]

TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]


def tensors(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return Checkpoint.load(folder / name).snapshot.tensors


def assert_same_run(first_run: Path, second_run: Path) -> None:
    for name in ("last.pt", "best.pt"):
        ours, theirs = tensors(first_run, name), tensors(second_run, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (first_run, second_run))
    assert {**first, "seconds": 0, "processor_seconds": 0} == {**second, "seconds": 0, "processor_seconds": 0}
    rounds = [[json.loads(line) for line in (folder / "rounds.jsonl").open()] for folder in (first_run, second_run)]
    assert [played["val"] for played in rounds[0]] == [played["val"] for played in rounds[1]]


def test_a_run_leaves_its_settings_rounds_checkpoints_and_result(trained: Path) -> None:
    names = {"config.yaml", "rounds.jsonl", "rounds.csv", "best.pt", "last.pt", "result.json"}
    assert {path.name for path in trained.iterdir()} == names
    rounds = [Round.from_dict(json.loads(line)) for line in (trained / "rounds.jsonl").open()]
    assert [played.images for played in rounds] == [16, 32, 48, 64]
    assert tuple(rounds) == Checkpoint.load(trained / "last.pt").history
    with (trained / "rounds.csv").open() as file:
        assert [float(row["val.ap"]) for row in csv.DictReader(file)] == [played.val.ap for played in rounds]
    result = json.loads((trained / "result.json").read_text())
    best = max(played.val.ap for played in rounds)
    assert result["status"] == "finished"
    assert result["val"]["ap"] == best == rounds[result["selected"]].val.ap
    assert result["gap"] == best - result["test"]["ap"]
    assert (result["images"], result["evaluated"], result["rounds"]) == (64, 4 * 8 + 8, 4)
    assert len(result["test"]["per_category"]) == len(result["categories"]) == 3
    assert {"ap", "ap50", "ap75", "ap_small", "ar1", "ar_large"} <= result["test"].keys()
    assert len(Checkpoint.load(trained / "best.pt").history) == result["selected"] + 1


def test_the_settings_it_leaves_make_the_same_run_again(trained: Path, tmp_path: Path) -> None:
    assert main(["train", "--config", str(trained / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    assert_same_run(trained, tmp_path / "again")


def test_other_settings_make_another_run(trained: Path, tmp_path: Path) -> None:
    config = ["train", "--config", str(trained / "config.yaml"), "--out", str(tmp_path / "other"), "--seed", "1"]
    assert main(config) == 0
    assert not torch.equal(tensors(trained)["weights"], tensors(tmp_path / "other")["weights"])


@pytest.mark.parametrize("write", range(1, 6))
def test_a_run_killed_between_any_two_writes_ends_with_the_weights_of_the_unbroken_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    folder, writes, save = tmp_path / "run", [0], CheckpointFolder.save

    class Killed(BaseException):
        pass

    def dying(self: CheckpointFolder, *arguments: object) -> None:
        writes[0] += 1
        if writes[0] == write:
            raise Killed
        save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", dying)
        with pytest.raises(Killed):
            main(["train", *TINY, "--out", str(folder)])
    (folder / ".last.pt.abc").write_bytes(b"half a checkpoint")
    assert main(["train", *TINY, "--out", str(folder), "--resume"]) == 0
    assert_same_run(trained, folder)
    assert not list(folder.glob(".*")), "what a killed write left is cleared away"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_in_the_middle_is_resumed_bit_for_bit(tmp_path: Path, number: signal.Signals) -> None:
    flags = [*TINY, "--images", "960", "--rounds", "20"]
    command = [sys.executable, "-m", "mapopt", "train", *flags, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A shell's background jobs ignore Ctrl-C and hand that down; the command is to have it as at a terminal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    rounds = tmp_path / "killed" / "rounds.jsonl"
    while not rounds.is_file() or len(rounds.read_text().splitlines()) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, number)
    said = process.communicate()[1]
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert not (tmp_path / "killed" / "result.json").exists()
    if number == signal.SIGINT:
        assert "interrupted. Every finished round is kept in" in said
        assert "--resume goes on from there" in said
        assert "Traceback" not in said
    assert main([*command[3:], "--resume"]) == 0
    assert main(["train", *flags, "--out", str(tmp_path / "whole")]) == 0
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_run_that_finished_says_so_and_stays_as_it_is(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    assert main(["train", *TINY, "--out", str(trained), "--resume"]) == 0
    assert "finished after 4 rounds; nothing to do" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_a_run_that_lacks_only_its_result_gets_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", *TINY, "--out", str(tmp_path / "run")])
    first = capsys.readouterr().out
    (tmp_path / "run" / "result.json").unlink()
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == first.splitlines()[-2], "the test's numbers are printed again"
    assert_same_run(trained, tmp_path / "run")


def test_resuming_where_nothing_is_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path / "new"), "--resume"]) == 0
    assert "nothing to resume: beginning" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--knobs.lr", "0.123"], "was begun with knobs.lr 0.08, not 0.123."),
        (["--seed", "4"], "was begun with seed 0, not 4."),
        (["--images", "128"], "was begun with images 64, not 128."),
        (["--controller", "plateau"], "was begun with controller schedule, not plateau."),
        (["--recipe.loss", "bce"], f"was begun with recipe.loss {Recipe().loss}, not bce."),
        (["--scenes.noise", "0.123"], f"was begun with scenes.noise {ShapesConfig().noise}, not 0.123."),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    trained: Path, refused: Refused, flags: list[str], message: str
) -> None:
    said = refused("train", *TINY, *flags, "--out", trained, "--resume")
    assert said.startswith(f"{trained}: {message} Resume it with the settings in its config.yaml")


def test_a_run_is_not_resumed_on_other_images(tmp_path: Path, refused: Refused) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_coco_folder(data)
    flags = [
        "--data",
        data,
        "--size",
        32,
        32,
        "--recipe.batch-size",
        2,
        "--images",
        4,
        "--rounds",
        2,
        "--device",
        "cpu",
    ]
    assert main(["train", *map(str, flags), "--figures", "False", "--out", str(out)]) == 0
    (out / "result.json").unlink()
    Image.new("RGB", (40, 30), "white").save(data / "images" / "train0.png")
    said = refused("train", *flags, "--out", out, "--resume")
    assert said == f"{data}: the images or annotations are not those that {out} was begun with"


def write_coco_folder(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    for split in ("train", "val", "test"):
        images = []
        for number in range(2):
            name = f"{split}{number}.png"
            picture = Image.new("RGB", (40, 30), (number * 90, 40, 20 * len(split)))
            picture.putpixel((number, 3), (255, len(split), 0))
            picture.save(folder / "images" / name)
            images.append({"id": number, "file_name": name, "width": 40, "height": 30})
        boxes = [{"id": n, "image_id": n, "category_id": 7, "bbox": [4, 5, 20, 15], "area": 300} for n in range(2)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "thing"}]}
        (folder / f"{split}.json").write_text(json.dumps(content))


def test_overwriting_replaces_the_run_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "result.json").write_text("old")
    (folder / "best.pt").write_text("old")
    assert main(["train", *TINY, "--rounds", "1", "--out", str(folder), "--overwrite"]) == 0
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "result.json").read_text())["rounds"] == 1


def test_a_diverged_run_is_recorded_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapopt.training import packing

    flags = ["train", *TINY, "--out", str(tmp_path)]
    clip = packing.clip_rows
    calls = [0]

    def explode(gradient: torch.Tensor, limit: float) -> tuple[torch.Tensor, torch.Tensor]:
        calls[0] += 1
        gradient, norms = clip(gradient, limit)
        return gradient, norms * float("nan" if calls[0] == 3 else 1)

    monkeypatch.setattr(packing, "clip_rows", explode)
    assert main(flags) == 1
    assert "diverged in round 2" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["rounds"], result["test"], result["gap"]) == ("diverged", 2, None, None)
    assert result["val"]["ap"] == 0.0
    assert result["reason"] == "a loss or gradient was not finite"
    assert json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[-1])["interval"]["diverged"]
    assert main([*flags, "--resume"]) == 1, "it stays diverged"


def test_early_stopping_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*TINY, "--images", "256", "--rounds", "16", "--knobs.lr", "1e-5", "--patience", "2"]
    assert main(["train", *flags, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "stopped"
    assert result["rounds"] < 16
    assert result["reason"] in capsys.readouterr().out


def test_interruption_before_the_first_round_says_that_nothing_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mapopt.training.session.run", lambda *_, **__: interrupt())
    assert main(["train", *TINY, "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert "mapopt train: interrupted. No round was finished, so nothing is kept" in said


def test_printed_settings_are_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*TINY, "--knobs.lr", "1e-3", "--recipe.scope", "class", "--out", str(tmp_path / "run")]
    assert main(["train", *flags, "--print-config"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "c.yaml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "c.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == text
    settings = from_mapping(Train, yaml.safe_load(text), "c.yaml")
    assert settings.knobs.lr == 1e-3
    assert settings.scenes.object_size == (8.0, 16.0)
    assert to_mapping(settings) == load_yaml(tmp_path / "c.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"], "nothing else is written"


def test_data_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path: Path, refused: Refused) -> None:
    flags = ["--size", 32, 32, "--recipe.batch-size", 2, "--images", 4, "--rounds", 2, "--out", tmp_path / "run"]
    assert refused("train", "--data", tmp_path / "none", *flags).startswith(f"{tmp_path / 'none'}: no such file")
    write_coco_folder(tmp_path / "data")
    broken = json.loads((tmp_path / "data" / "val.json").read_text())
    broken["annotations"][0]["bbox"] = [50, 5, 20, 15]
    (tmp_path / "data" / "val.json").write_text(json.dumps(broken))
    assert "val.json" in refused("train", "--data", tmp_path / "data", *flags)
    assert not (tmp_path / "run").exists()
