"""What `predict` numbers is evaluated by file and category name, whatever the ids of the ground truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mapopt.commands.predict import Predict
from mapopt.commands.train import Train
from mapopt.training import Recipe

HERE = Path(__file__).resolve().parent / "predict_then_evaluate"
TRUTH = HERE / "data" / "train.json"
ORDER = [5, 1, 8, 3, 7, 2, 6, 4]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run, the pictures it was trained on, and what it detects in them."""
    folder = tmp_path_factory.mktemp("predicted")
    Train(
        data=str(HERE / "data"),
        out=folder / "run",
        size=(48, 64),
        images=800,
        rounds=2,
        recipe=Recipe(batch_size=8),
        device="cpu",
    ).run()
    (folder / "pictures").mkdir()
    for image in json.loads(TRUTH.read_text())["images"]:
        shutil.copy(HERE / "data" / "images" / image["file_name"], folder / "pictures")
    Predict(
        checkpoint=folder / "run" / "best.pt", images=(folder / "pictures",), out=folder / "found", device="cpu"
    ).run()
    return folder


def renumbered(path: Path) -> Path:
    """Writes the same ground truth with images and categories under other ids."""
    truth = json.loads(TRUTH.read_text())
    images = dict(zip([image["id"] for image in truth["images"]], ORDER, strict=True))
    categories = {entry["id"]: f"kind {entry['id']}" for entry in truth["categories"]}
    truth["images"] = [{**image, "id": images[image["id"]]} for image in truth["images"]]
    truth["categories"] = [{**entry, "id": categories[entry["id"]]} for entry in truth["categories"]]
    truth["annotations"] = [
        {**entry, "image_id": images[entry["image_id"]], "category_id": categories[entry["category_id"]]}
        for entry in truth["annotations"]
    ]
    path.write_text(json.dumps(truth))
    return path


def test_ap_is_the_same_whatever_the_ids_are(run, evaluated, tmp_path) -> None:
    results = run / "found" / "results.json"
    same, text = evaluated(TRUTH, results)
    assert same[0] > 0
    assert "images are matched by file name: " in text
    other = renumbered(tmp_path / "other.json")
    assert evaluated(other, results)[0] == same
    # Without the index beside them the names in the entries do.
    shutil.copy(results, tmp_path / "alone.json")
    assert evaluated(other, tmp_path / "alone.json")[0] == same


def test_predict_takes_over_the_ids_of_a_file(run, evaluated, tmp_path) -> None:
    other = renumbered(tmp_path / "other.json")
    flags = {"checkpoint": run / "run" / "best.pt", "images": (run / "pictures",), "device": "cpu"}
    Predict(out=tmp_path / "found", truth=other, **flags).run()
    entries = json.loads((tmp_path / "found" / "results.json").read_text())
    # Without names the ids alone must do.
    ids = [{name: value for name, value in entry.items() if not name.endswith("_name")} for entry in entries]
    (tmp_path / "alone.json").write_text(json.dumps(ids))
    assert evaluated(other, tmp_path / "alone.json")[0] == evaluated(TRUTH, run / "found" / "results.json")[0]
    assert {entry["category_id"] for entry in json.loads((tmp_path / "alone.json").read_text())} <= {
        entry["id"] for entry in json.loads(other.read_text())["categories"]
    }


def test_images_numbered_otherwise_are_recognized_without_names(run, evaluated, tmp_path) -> None:
    other = json.loads(renumbered(tmp_path / "other.json").read_text())
    for entry in other["categories"]:
        entry["id"] = int(entry["id"].split()[1])
    for entry in other["annotations"]:
        entry["category_id"] = int(entry["category_id"].split()[1])
    perfect = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for entry in json.loads(TRUTH.read_text())["annotations"]
    ]
    (tmp_path / "other.json").write_text(json.dumps(other))
    (tmp_path / "results.json").write_text(json.dumps(perfect))
    _, text = evaluated(tmp_path / "other.json", tmp_path / "results.json")
    assert "the images seem to be numbered otherwise" in text


def test_an_image_that_the_file_lacks_is_named(run, tmp_path, capsys) -> None:
    from mapopt.cli import main

    flags = ["--checkpoint", str(run / "run" / "best.pt"), "--images", str(run / "pictures"), "--device", "cpu"]
    command = ["predict", *flags, "--truth", str(HERE / "data" / "val.json"), "--out", str(tmp_path / "x")]
    assert main(command) == 2
    assert "does not list image '" in capsys.readouterr().err
