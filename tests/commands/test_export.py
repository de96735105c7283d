"""`mapopt export`, and the flags of post-processing of `mapopt predict` and `mapopt evaluate`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mapopt.cli import main

Refused = Callable[..., str]


def test_a_run_is_exported(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cells.pth"
    assert main(["export", str(trained), "--format", "state_dict", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out} ({out.stat().st_size:,} bytes) and {out}.json\n"
    assert "head.weight" in torch.load(out, weights_only=True)
    described = json.loads(Path(f"{out}.json").read_text())
    assert (described["kind"], described["categories"]) == ("state_dict", ["disc", "box", "triangle"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.pth", "cells.pth.json"]
    assert main(["export", str(trained), "--format", "state_dict", "--out", str(out), "--overwrite"]) == 0


def test_what_cannot_be_exported_is_one_line(trained: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "cells.onnx"
    assert refused("export", trained) == "--out is missing: give it. Expected a path."
    assert refused("export", trained, "--out", out, "--format", "onx").startswith(
        "unknown format 'onx': did you mean 'onnx'?"
    )
    assert refused("export", tmp_path / "none", "--out", out).startswith(f"{tmp_path / 'none'}: no such file; expected")
    out.write_text("")
    assert refused("export", trained, "--out", out).startswith(f"{out}: is there already. Give --overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["cells.onnx"]


def test_the_checkpoint_is_not_overwritten_with_what_is_made_of_it(trained: Path, refused: Refused) -> None:
    best = trained / "best.pt"
    before = best.read_bytes()
    for given in (trained, best):
        said = refused("export", given, "--format", "state_dict", "--out", best, "--overwrite")
        assert said == f"{best}: is the checkpoint itself, which would be lost. Choose another --out."
    assert best.read_bytes() == before
    assert not (trained / "best.pt.json").exists()


def test_predict_and_evaluate_obey_flags_of_post_processing(trained: Path, tmp_path: Path) -> None:
    images = tmp_path / "in"
    images.mkdir()
    Image.new("RGB", (40, 30), (200, 40, 40)).save(images / "a.png")
    (tmp_path / "found.json").write_text('{"detections": 3}')
    file = ["--post-processing", str(tmp_path / "found.json"), "--flip"]
    common = ["--checkpoint", str(trained), "--device", "cpu"]
    assert main(["predict", *common, "--images", str(images), "--out", str(tmp_path / "p"), *file]) == 0
    assert len(json.loads((tmp_path / "p" / "results.json").read_text())) == 3
    out = ["--out", str(tmp_path / "e"), "--figures", "False", "--resamples", "0"]
    assert main(["evaluate", *common, *out, *file, "--class-thresholds", "box", "1.0", "--detections", "2"]) == 0
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    assert len(results) == 16
    assert {entry["category_id"] for entry in results} <= {1, 3}


def test_flags_of_post_processing_that_are_wrong_are_one_line(trained: Path, tmp_path: Path, refused: Refused) -> None:
    common = ("evaluate", "--checkpoint", trained)
    assert refused(*common, "--nms-iou", 5) == "nms_iou is 5.0: expected a number from 0 to 1"
    assert refused(*common, "--class-thresholds", "disk", 0.5).startswith(
        "class_thresholds: unknown class 'disk': did you mean 'disc'?"
    )
    assert refused(*common, "--post-processing", tmp_path / "none.json").startswith(
        f"{tmp_path / 'none.json'}: no such file; expected settings of post-processing"
    )
    assert refused("evaluate", "--truth", "a.json", "--results", "b.json", "--soft-nms-sigma", 0.3) == (
        "--soft-nms-sigma is given, but it says nothing about --truth and --results: leave it out"
    )
    predict = ("predict", "--checkpoint", trained, "--images", tmp_path, "--out", tmp_path / "p")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert refused(*predict, "--class-thresholds", "disk", 0.5).startswith("class_thresholds: unknown class 'disk'")
    assert not (tmp_path / "p").exists()
