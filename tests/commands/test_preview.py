"""`mapopt preview` draws training samples and feature maps, and trains nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main

Refused = Callable[..., str]

SCENES = ["--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8"]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened.convert("RGB"))


def test_samples_are_drawn_before_and_after_augmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "preview"
    assert main(["preview", *SCENES, "--count", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: samples.png\n"
    assert [path.name for path in out.iterdir() if path.suffix == ".png"] == ["samples.png"]
    augmented = picture(out / "samples.png")
    assert augmented.shape[1] == 12 + 4 * 372, "two pairs beside each other"
    assert main(["preview", *SCENES, "--count", "2", "--augment", "0", "--out", str(out), "--overwrite"]) == 0
    plain = picture(out / "samples.png")
    left, right = (plain[-392:-32, 12 + place * 372 : 372 + place * 372] for place in (0, 1))
    assert np.array_equal(left, right), "without augmentation both are the same"
    left, right = (augmented[-392:-32, 12 + place * 372 : 372 + place * 372] for place in (0, 1))
    assert not np.array_equal(left, right)
    assert main(["preview", *SCENES, "--count", "2", "--augment", "0", "--seen", "2", "--out", str(out)]) == 2
    assert main(["preview", *SCENES, "--seen", "2", "--count", "2", "--out", str(tmp_path / "later")]) == 0
    assert not np.array_equal(picture(tmp_path / "later" / "samples.png"), augmented)


def test_layers_of_a_run_are_listed_and_drawn(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    assert main(["preview", "--checkpoint", str(trained), "--device", "cpu", "--list-layers", "True"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "5 layers; channels x height x width of their maps for an image of 32 x 32"
    assert [line.split()[0] for line in said[1:]] == ["stem", "first", "second", "third", "head"]
    assert said[-1].endswith("7 x 4 x 4")

    flags = ["preview", "--checkpoint", str(trained), "--device", "cpu", "--count", "2", "--layers", "head", "stem"]
    out = tmp_path / "layers"
    assert main([*flags, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: samples.png, layers.png\n"
    sheet = picture(out / "layers.png")
    assert sheet.shape[1] == 12 + 8 * 182
    assert sheet.shape[0] > 4 * (170 + 20), "two images with two layers each"

    Image.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    given = ["--images", str(tmp_path / "red.png"), "--out", str(tmp_path / "own")]
    assert main([*flags, *given]) == 0
    assert not (tmp_path / "own" / "samples.png").exists()
    assert picture(tmp_path / "own" / "layers.png").shape[0] < sheet.shape[0]
    assert before == {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}, "the run is as it was"


def test_kinds_of_augmentation_are_drawn_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = ["preview", *SCENES, "--count", "2", "--augment", "0"]
    assert main([*still, "--augmentation.mosaic", "1", "--out", str(tmp_path / "mosaic")]) == 0
    assert main([*still, "--augmentation.flip-vertical", "1", "--out", str(tmp_path / "flips")]) == 0
    before, after = [], []
    for name in ("mosaic", "flips"):
        sheet = picture(tmp_path / name / "samples.png")
        sides = [sheet[-392:-32, 12 + place * 372 : 372 + place * 372] for place in range(4)]
        before.append(sides[0])
        after.append(sides[1])
    assert np.array_equal(*before)
    assert not np.array_equal(*after)
    # But for the frames of boxes, which have a width.
    assert np.mean(np.abs(after[1][::-1].astype(int) - before[1].astype(int)) < 8) > 0.9


def test_the_transform_of_a_run_is_not_imported_because_a_file_names_it(
    tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    run, name = tmp_path / "run", "torchvision.transforms.v2:RandomGrayscale"
    flags = ["--images", "64", "--rounds", "2", "--figures", "False", "--device", "cpu", "--out", str(run)]
    assert main(["train", *SCENES, *flags, "--recipe.augmentation.transform", name]) == 0
    said = refused("preview", "--checkpoint", run, "--out", tmp_path / "out")
    assert f"was trained with the transform {name}, and a file alone imports nothing" in said
    given = ["--augmentation.transform", name, "--out", str(tmp_path / "out")]
    assert main(["preview", "--checkpoint", str(run), "--device", "cpu", *given]) == 0
    capsys.readouterr()
    assert main(["plot", str(run), "--device", "cpu"]) == 0
    assert (run / "train_batch.png").is_file()


def test_what_contradicts_itself_is_refused(trained: Path, tmp_path: Path, refused: Refused) -> None:
    out = ["--out", tmp_path / "out"]
    assert refused("preview", "--layers", "stem", *out).startswith("--layers is given without --checkpoint")
    assert refused("preview", "--list-layers", "True", *out).startswith("--list-layers is given without --checkpoint")
    run = ["--checkpoint", trained]
    assert refused("preview", *run, "--images", "a.png", *out).startswith("--images is given without --layers")
    assert refused("preview", *run, "--size", 64, 64, *out).startswith("--size is given, but the checkpoint has its")
    assert refused("preview", *run, "--layers", "stam", *out).startswith("unknown layer 'stam': did you mean 'stem'?")
    assert refused("preview", "--augment", 2, *out) == "augment is 2.0: expected 0 to 1"
    said = refused("preview", "--augmentation.rotate", 200, *out)
    assert said == "augmentation: rotate is 200.0: expected 0 to 180"
    assert refused("preview", "--data", tmp_path / "none", *out).startswith(f"{tmp_path / 'none'}: no such file")
    assert not (tmp_path / "out" / "layers.png").exists()
