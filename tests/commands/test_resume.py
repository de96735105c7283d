"""What `mapopt train` makes of a folder that a run was killed in, is written to now, or is to be longer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mapopt.cli import main
from mapopt.locks import lock_folder
from mapopt.output import Output
from mapopt.training import run_folder
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder

Refused = Callable[..., str]

TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]
RISING = [*TINY, "--controller", "constant", "--recipe.loss", "rank_sort"]
"""Settings whose last round is the best, and whose controller does not look at the budget."""


class Killed(BaseException):
    """What ends a run at once."""


def assert_same_folder(first: Path, second: Path) -> None:
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}
    for name in ("last.pt", "best.pt"):
        ours, theirs = (Checkpoint.load(folder / name) for folder in (first, second))
        assert len(ours.history) == len(theirs.history), name
        assert all(
            torch.equal(ours.snapshot.tensors[key], theirs.snapshot.tensors[key]) for key in ours.snapshot.tensors
        )
    results = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
    assert {**results[0], "seconds": 0, "processor_seconds": 0} == {**results[1], "seconds": 0, "processor_seconds": 0}


def killed_at(monkeypatch: pytest.MonkeyPatch, name: str, rounds: int) -> None:
    """Lets the write of a checkpoint after so many rounds kill the run."""
    save = CheckpointFolder.save

    def dying(self: CheckpointFolder, which: str, snapshot, history) -> None:
        if which == name and len(history) == rounds:
            raise Killed
        save(self, which, snapshot, history)

    monkeypatch.setattr(CheckpointFolder, "save", dying)


def test_a_run_killed_between_best_and_last_of_its_last_round_ends_as_the_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", *RISING, "--out", str(tmp_path / "whole")]) == 0
    best = len(Checkpoint.load(tmp_path / "whole" / "best.pt").history)
    flags = [*RISING, "--images", str(16 * best), "--rounds", str(best)]
    assert main(["train", *flags, "--out", str(tmp_path / "short")]) == 0
    with monkeypatch.context() as patch:
        killed_at(patch, "last", best)
        with pytest.raises(Killed):
            main(["train", *flags, "--out", str(tmp_path / "killed")])
    assert main(["train", *flags, "--out", str(tmp_path / "killed"), "--resume"]) == 0
    assert_same_folder(tmp_path / "short", tmp_path / "killed")


@pytest.mark.parametrize("flags", [["--resume"], []])
def test_what_a_run_killed_in_its_first_write_leaves_does_not_block(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / ".config.yaml.x1y2").write_text("half")
    assert main(["train", *TINY, "--out", str(tmp_path), *flags]) == 0
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_another_process_writes_to_is_refused(trained: Path, tmp_path: Path, refused: Refused) -> None:
    for folder, flags in ((tmp_path / "new", []), (trained, ["--resume"]), (trained, ["--overwrite"])):
        with lock_folder(folder):
            said = refused("train", *TINY, "--out", folder, *flags)
        assert said.startswith(f"{folder}: another process of mapopt writes here. Wait until it has ended")


def test_the_device_is_no_part_of_what_must_match(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained / "last.pt"
    settings = Checkpoint.load(path).settings
    assert not {"device", "out"} & settings.keys()
    stored = run_folder.comparable({**settings, "device": "cuda", "out": "elsewhere"})
    assert stored == settings, "checkpoints that say where they were trained are read alike"
    assert main(["train", *TINY, "--device", "auto", "--out", str(trained), "--resume"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_run_goes_on_with_a_longer_budget_as_if_it_had_been_begun_with_it(tmp_path: Path) -> None:
    longer = [*RISING, "--images", "96", "--rounds", "6"]
    assert main(["train", *RISING, "--out", str(tmp_path / "run")]) == 0
    assert main(["train", *longer, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert main(["train", *longer, "--out", str(tmp_path / "whole")]) == 0
    assert_same_folder(tmp_path / "run", tmp_path / "whole")


def test_a_longer_budget_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = [*RISING, "--images", "96", "--rounds", "6"]
    assert main(["train", *RISING, "--out", str(tmp_path / "run")]) == 0
    with monkeypatch.context() as patch:
        killed_at(patch, "last", 5)
        with pytest.raises(Killed):
            main(["train", *longer, "--out", str(tmp_path / "run"), "--resume"])
    assert main(["train", *longer, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert main(["train", *longer, "--out", str(tmp_path / "whole")]) == 0
    assert_same_folder(tmp_path / "run", tmp_path / "whole")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A small folder of images in three sets."""
    images = tmp_path / "cells" / "images"
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        listed = [{"id": n, "file_name": f"{split}{n}.png", "width": 32, "height": 32} for n in range(8)]
        for entry in listed:
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / str(entry["file_name"]))
        boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 20, 20]} for n in range(8)]
        truth = {"images": listed, "categories": [{"id": 1, "name": "cell"}], "annotations": boxes}
        (tmp_path / "cells" / f"{split}.json").write_text(json.dumps(truth))
    return tmp_path / "cells"


ON_CELLS = [
    "--figures",
    "False",
    "--size",
    "32",
    "32",
    "--recipe.batch-size",
    "8",
    "--images",
    "16",
    "--rounds",
    "2",
    "--device",
    "cpu",
]


def test_a_finished_run_is_held_to_its_images_and_says_where_they_are_gone(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    command = ["train", "--data", str(cells), *ON_CELLS, "--out", str(tmp_path / "run")]
    assert main(command) == 0
    result = capsys.readouterr().out.splitlines()[-2:]
    assert result[0].startswith("test AP ")
    assert main([*command, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == result
    cells.rename(tmp_path / "moved")
    assert main([*command, "--resume"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("this run is finished after 2 rounds; nothing to do")
    assert said[1].startswith(f"its images could not be looked at again: {cells}: ")
    assert said[2:] == result
    (tmp_path / "moved").rename(cells)
    Image.new("RGB", (32, 32)).save(cells / "images" / "test3.png")
    assert refused(*command, "--resume") == (
        f"{cells}: the images or annotations are not those that {tmp_path / 'run'} was begun with"
    )
    shutil.rmtree(cells)
    assert refused("train", "--data", cells, *ON_CELLS, "--out", tmp_path / "new").startswith(f"{cells}: ")


def test_what_a_run_started_from_is_known_by_its_content(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    first = tmp_path / "first.pt"
    first.write_bytes((trained / "best.pt").read_bytes())
    command = ["train", *TINY, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        killed_at(patch, "last", 3)
        with pytest.raises(Killed):
            main([*command, "--start-from", str(first)])
    other = tmp_path / "other.pt"
    other.write_bytes((trained / "last.pt").read_bytes())
    for path in (other, first):
        first.write_bytes(other.read_bytes())
        assert refused(*command, "--start-from", path, "--resume") == (
            f"{tmp_path / 'run'}: was begun from a checkpoint whose content was another than that of {path} is now. "
            "Give the file as it was, or choose another --out."
        )
    assert refused(*command, "--resume").startswith(f"{tmp_path / 'run'}: was begun with start_from {first}, not None")
    first.unlink()
    assert "was begun with start_from" in refused(*command, "--start-from", tmp_path / "x", "--resume")
    moved = tmp_path / "elsewhere" / "best.pt"
    moved.parent.mkdir()
    moved.write_bytes((trained / "best.pt").read_bytes())
    assert main([*command, "--start-from", str(moved.parent / "best.pt"), "--resume"]) == 0
    assert main(["train", *TINY, "--start-from", str(trained), "--out", str(tmp_path / "whole")]) == 0
    assert_same_folder(tmp_path / "run", tmp_path / "whole")
    moved.unlink()
    assert main([*command, "--start-from", str(moved), "--resume"]) == 0, "a run that has begun needs it no longer"
    assert refused("train", *TINY, "--start-from", moved, "--out", tmp_path / "new").startswith(
        f"{moved}: no such file"
    )


def test_a_controller_that_looks_at_the_budget_refuses_a_longer_one(trained: Path, refused: Refused) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    said = refused("train", *TINY, "--images", 128, "--rounds", 8, "--out", trained, "--resume")
    assert said == (
        f"{trained}: was begun with rounds 4, not 8, and its controller decides round 1 otherwise for a run of another "
        "length. Resume it with the settings in its config.yaml, or begin another run from its weights with "
        f"--start-from {trained / 'best.pt'}."
    )
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
    assert "was begun with images 64, not 32" in refused(
        "train", *TINY, "--images", 32, "--rounds", 2, "--out", trained, "--resume"
    )


def test_unfinished_files_of_folders_inside_are_found(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / ".a.jpg.x1").touch()
    Output(tmp_path, ("pictures/*.jpg",)).clear_unfinished()
    assert not list((tmp_path / "pictures").iterdir())
