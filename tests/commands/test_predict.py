"""`mapopt predict`: results with every box, pictures that show them, and any kind of image."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.data.image_files import find_images
from mapopt.data.palette import category_color
from mapopt.drawing.boxes import draw_boxes
from mapopt.errors import DataError

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight test scenes of the trained run, as files."""
    folder = tmp_path_factory.mktemp("scenes")
    config = ShapesConfig(size=32, object_size=(8.0, 16.0))
    pixels = make_shapes_splits(config, seed=0, train=16, val=8, test=8).test.pixels
    for number, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"scene{number}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def predict(trained: Path, out: Path, *flags: object) -> int:
    command = ["predict", "--checkpoint", trained / "best.pt", "--device", "cpu", "--out", out, *flags]
    return main([str(word) for word in command])


def test_what_is_found_in_files_is_what_evaluation_finds(trained: Path, folder: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", folder) == 0
    evaluation = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--out", str(tmp_path / "e")]
    assert main(evaluation) == 0
    ours, theirs = (json.loads((tmp_path / name / "results.json").read_text()) for name in "pe")
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine["bbox"], mine["score"], mine["category_id"]) == (
            other["bbox"],
            other["score"],
            other["category_id"],
        )
    index = json.loads((tmp_path / "p" / "images.json").read_text())
    assert [Path(image["file_name"]).name for image in index["images"]] == [f"scene{n}.png" for n in range(8)]
    assert [image["id"] for image in index["images"]] == list(range(1, 9))
    assert index["categories"][1] == {"id": 2, "name": "box"}


def test_pictures_are_drawn_and_small_ones_enlarged(trained: Path, folder: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", folder, "--score", 0) == 0
    assert predict(trained, tmp_path / "q", "--images", folder, "--score", 1) == 0
    names = sorted(path.name for path in (tmp_path / "p" / "pictures").iterdir())
    assert names == [f"scene{number}.jpg" for number in range(8)]
    with_boxes, without = (Image.open(tmp_path / name / "pictures" / "scene0.jpg") for name in "pq")
    assert with_boxes.size == without.size == (320, 320)
    assert (np.asarray(with_boxes) != np.asarray(without)).mean() > 0.01
    original = np.asarray(Image.open(folder / "scene0.png").resize((320, 320), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(np.asarray(without).astype(int) - original).mean() < 8, "nothing but the scene is drawn"


def test_images_of_any_kind_and_size_are_read(trained: Path, tmp_path: Path) -> None:
    kinds = {"grey.png": "L", "palette.gif": "P", "see-through.png": "RGBA", "deep.tif": "I;16", "ink.jpg": "CMYK"}
    source = tmp_path / "in"
    source.mkdir()
    for number, (name, mode) in enumerate(kinds.items()):
        Image.new(mode, (50 + 30 * number, 40), 90 if mode in ("L", "P", "I;16") else None).save(source / name)
    assert predict(trained, tmp_path / "p", "--images", source, "--score", 0) == 0
    sizes = {image["id"]: (image["width"], image["height"]) for image in index_of(tmp_path / "p")}
    for entry in json.loads((tmp_path / "p" / "results.json").read_text()):
        left, top, width, height = entry["bbox"]
        assert left >= 0
        assert top >= 0
        assert left + width <= sizes[entry["image_id"]][0] + 1e-9
        assert top + height <= sizes[entry["image_id"]][1] + 1e-9
    assert len(list((tmp_path / "p" / "pictures").iterdir())) == 5


def index_of(out: Path) -> list[dict[str, int]]:
    return json.loads((out / "images.json").read_text())["images"]


def test_files_folders_and_samples_may_be_given(trained: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scene3.png").write_bytes((folder / "scene5.png").read_bytes())
    assert predict(trained, tmp_path / "p", "--images", folder / "scene3.png", tmp_path / "in") == 0
    pictures = sorted(path.name for path in (tmp_path / "p" / "pictures").iterdir())
    assert pictures == ["scene3-1.jpg", "scene3.jpg"]
    assert predict(trained, tmp_path / "q", "--images", folder, "--sample", 3, "--seed", 1) == 0
    assert len(index_of(tmp_path / "q")) == 3
    assert find_images((folder / "scene1.png", folder))[:2] == [folder / "scene1.png", folder / "scene0.png"]


def test_old_pictures_do_not_stay_beside_new_ones(trained: Path, folder: Path, tmp_path: Path) -> None:
    assert predict(trained, tmp_path / "p", "--images", folder) == 0
    assert predict(trained, tmp_path / "p", "--images", folder / "scene2.png", "--overwrite") == 0
    assert [path.name for path in (tmp_path / "p" / "pictures").iterdir()] == ["scene2.jpg"]


def test_what_is_wrong_is_said_before_anything_is_written(
    trained: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    common = ["predict", "--checkpoint", trained / "best.pt", "--out", tmp_path / "p"]
    assert refused("predict") == "--checkpoint is missing: give it. Expected a path."
    assert refused("predict", "--checkpoint", "x").startswith("--images is missing: give it. Expected a list")
    assert (
        refused(*common, "--images", tmp_path / "none")
        == f"{tmp_path / 'none'}: no such image or folder. Check the path."
    )
    (tmp_path / "empty").mkdir()
    assert refused(*common, "--images", tmp_path / "empty").startswith(f"{tmp_path / 'empty'}: holds no image (.bmp, ")
    assert "is not an image in a known format" in refused(*common, "--images", folder / "notes.txt")
    assert refused(*common, "--images", folder, "--score", 2) == "score is 2.0: expected 0 to 1"
    assert refused(*common, "--images", folder, "--sample", 9).startswith("sample is 9, and there are 8 images")
    assert not (tmp_path / "p").exists()
    assert "is not empty. Give --overwrite" in refused(*common[:3], "--images", folder, "--out", folder)
    with pytest.raises(DataError):
        find_images((tmp_path / "none",))


def test_a_box_is_drawn_where_it_is() -> None:
    picture = Image.new("RGB", (400, 300))
    drawn = np.asarray(
        draw_boxes(picture, np.array([[100.0, 50, 200, 150]]), np.array([1]), np.array([0.5]), ["a", "b"])
    )
    assert drawn.shape == (300, 400, 3)
    color = category_color(1)
    assert tuple(drawn[100, 100]) == tuple(drawn[100, 200]) == tuple(drawn[150, 120]) == color
    assert not drawn[60:140, 110:190].any(), "inside, the picture is untouched"
    assert not drawn[200:].any()
    assert not np.asarray(picture).any(), "the picture given is left alone"
    assert len({category_color(label) for label in range(20)}) == 20


def test_a_disk_that_is_full_for_pictures_is_one_line(
    trained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace = os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).suffix == ".jpg":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert predict(trained, tmp_path / "p", "--images", folder) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "scene0.jpg: cannot be written (No space left on device). Make room, or choose another folder." in said
    assert not list((tmp_path / "p" / "pictures").iterdir())


def test_the_longest_names_of_images_still_name_pictures(trained: Path, folder: Path, tmp_path: Path) -> None:
    for letter in "ab":
        (tmp_path / letter).mkdir()
        Image.open(folder / "scene0.png").save(tmp_path / letter / ("\u00e9" * 125 + ".png"))
    assert predict(trained, tmp_path / "p", "--images", tmp_path / "a", tmp_path / "b") == 0
    assert len(list((tmp_path / "p" / "pictures").iterdir())) == 2
