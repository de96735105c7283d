"""Commands that go through many images say about how long they take once some are done, on the standard error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from mapopt import passes
from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.training import inference, trained_detector


@pytest.fixture(autouse=True)
def _everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes any pass worth a line, and lets the detector look at a few images at a time."""
    monkeypatch.setattr(passes, "LONG", 0.0)
    monkeypatch.setattr(inference, "_BATCH_PIXELS", 2 * 32 * 32)
    monkeypatch.setattr(trained_detector, "TOGETHER", 4)


def test_evaluate_and_predict_say_how_long_detection_takes(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--checkpoint", str(trained), "--device", "cpu", "--out", str(tmp_path / "e")]) == 0
    out, error = capsys.readouterr()
    assert re.search(r"^detecting in 8 images takes about \d", error, re.MULTILINE)
    assert "detecting in" not in out
    config = ShapesConfig(size=32, object_size=(8.0, 16.0))
    pixels = make_shapes_splits(config, seed=0, train=16, val=8, test=8).test.pixels
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    flags = ["--images", str(tmp_path / "in"), "--device", "cpu", "--out", str(tmp_path / "p")]
    assert main(["predict", "--checkpoint", str(trained), *flags]) == 0
    assert len(re.findall("^detecting in 8 images takes", capsys.readouterr().err, re.MULTILINE)) == 1
    ours, theirs = (json.loads((tmp_path / name / "results.json").read_text()) for name in "pe")
    # Both go through the images in the same batches, and so give the same bits.
    assert [entry["bbox"] + [entry["score"]] for entry in ours] == [
        entry["bbox"] + [entry["score"]] for entry in theirs
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_images_says_how_long_it_takes(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mapopt.data import read_coco
    from mapopt.data.images import ImageSet
    from mapopt.waiting import Waiting

    for number in range(3):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 6} for n in range(3)]
    categories, box = [{"id": 1, "name": "cell"}], {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    truth = {"images": images, "categories": categories, "annotations": [box]}
    (tmp_path / "train.json").write_text(json.dumps(truth))
    notes = read_coco(tmp_path / "train.json", images_dir=tmp_path)
    ImageSet.read(notes, size=(8, 8), workers=workers)
    assert capsys.readouterr().err == ""
    with Waiting("command", announce=False):
        ImageSet.read(notes, size=(8, 8), workers=workers)
    assert capsys.readouterr().err.startswith("reading 3 images takes about 0.")
