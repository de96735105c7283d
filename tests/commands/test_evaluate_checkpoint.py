"""`mapopt evaluate --checkpoint`: the numbers a run reported, other data, and categories by name."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes_splits, write_coco
from mapopt.data.files import read_json
from mapopt.data.results import read_results
from mapopt.data.settings import draw_sample
from mapopt.errors import CheckpointError, ConfigError
from mapopt.metrics import STATS
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.trained_detector import match_categories

Refused = Callable[..., str]


SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))


QUICK = ["--figures", "False", "--resamples", "0"]
"""Flags that leave out what most tests do not look at."""


def by_name(report: dict) -> dict[str, float]:
    """Returns each category's AP in a report as results of a run have it: -1 where undefined."""
    return {row["name"]: -1.0 if row["ap"] is None else row["ap"] for row in report["categories"]}


def test_a_checkpoint_has_the_test_numbers_that_its_run_reported(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", *QUICK]
    assert main([*command, "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    run = json.loads((trained / "result.json").read_text())
    undefined = {name for name in STATS if report[name] is None}
    assert {name: report[name] for name in STATS if name not in undefined} == {
        name: run["test"][name] for name in STATS if name not in undefined
    }
    assert all(run["test"][name] == -1 for name in undefined)
    assert list(by_name(report).values()) == run["test"]["per_category"]
    assert list(by_name(report)) == run["categories"]
    assert (report["images"], report["version"]) == (8, 2)


def test_the_val_split_gives_the_selected_rounds_ap(trained: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--split", "val"]
    assert main([*command, *QUICK, "--out", str(tmp_path)]) == 0
    run = json.loads((trained / "result.json").read_text())
    assert json.loads((tmp_path / "report.json").read_text())["ap"] == run["val"]["ap"]


def test_a_sample_is_some_of_the_images(trained: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--sample", "3"]
        assert main([*command, *QUICK, "--seed", seed, "--out", str(tmp_path / seed)]) == 0
    assert json.loads((tmp_path / "0" / "report.json").read_text())["images"] == 3
    first, second = (read_results(tmp_path / seed / "results.json").image_ids for seed in ("0", "1"))
    assert set(first.tolist()) != set(second.tolist())
    assert draw_sample(5, 0, 3).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="sample is 6, and there are 5 images: expected 1 to 5, or 0 for all"):
        draw_sample(5, 6, 0)


def test_categories_are_matched_by_name_wherever_they_stand(trained: Path) -> None:
    assert match_categories(("a", "b", "c"), ("c", "a", "b")).tolist() == [1, 2, 0]
    with pytest.raises(CheckpointError, match="the checkpoint finds a, b, but the data have a, c"):
        match_categories(("a", "b"), ("a", "c"))


def test_data_that_list_the_categories_in_another_order_give_the_same_ap(trained: Path, tmp_path: Path) -> None:
    splits = make_shapes_splits(SCENES, seed=0, train=16, val=8, test=8)
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for name, images in splits.named():
        notes = images.annotations
        for file_name, pixels in zip(notes.file_names, images.pixels.permute(0, 2, 3, 1).numpy(), strict=True):
            Image.fromarray(pixels).save(data / "images" / file_name)
        names, labels = notes.category_names[::-1], len(notes.category_names) - 1 - notes.labels
        turned = dataclasses.replace(notes, category_names=names, labels=labels)
        write_coco(turned, data / f"{name.replace('val', 'val')}.json")
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--data", str(data)]
    assert main([*command, *QUICK, "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    test = json.loads((trained / "result.json").read_text())["test"]
    assert report["ap50"] == pytest.approx(test["ap50"], abs=1e-12)
    assert by_name(report) == dict(zip(names, test["per_category"][::-1], strict=True))


def test_data_of_other_categories_are_refused(trained: Path, refused: Refused) -> None:
    said = refused("evaluate", "--checkpoint", trained / "best.pt", "--data", "shapes", *SHAPES, "--scenes.classes", 2)
    assert said.startswith("the checkpoint finds disc, box, triangle, but the data have disc, box: evaluate on data")


SHAPES = ["--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8"]


def test_other_data_may_be_given(trained: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--data", "shapes", *SHAPES]
    command += QUICK
    assert main([*command, "--out", str(tmp_path / "same")]) == 0
    assert main([*command, "--data-seed", "5", "--out", str(tmp_path / "other")]) == 0
    same, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("same", "other"))
    assert same["ap"] == json.loads((trained / "result.json").read_text())["test"]["ap"] != other["ap"]


def test_a_checkpoint_that_does_not_know_its_data_asks_for_them(
    trained: Path, tmp_path: Path, refused: Refused
) -> None:
    checkpoint = Checkpoint.load(trained / "best.pt")
    dataclasses.replace(checkpoint, settings={}).save(tmp_path / "bare.pt")
    said = refused("evaluate", "--checkpoint", tmp_path / "bare.pt")
    assert said == f"{tmp_path / 'bare.pt'}: does not say what data it was trained with: give --data"


def test_a_checkpoint_is_compared_with_another_ones_results(trained: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--figures", "False"]
    assert main([*command, "--out", str(tmp_path / "a"), "--resamples", "0"]) == 0
    if not read_json(tmp_path / "a" / "results.json"):
        pytest.skip("this detector finds nothing")
    other = ["--compare", str(tmp_path / "a" / "results.json"), "--resamples", "20"]
    assert main([*command, *other, "--out", str(tmp_path / "b")]) == 0
    # Boxes in a file have a width, so corners differ in the last bits.
    difference = json.loads((tmp_path / "b" / "report.json").read_text())["comparison"]["ap"]
    assert difference["difference"] == pytest.approx(0, abs=1e-9)


def test_a_report_is_replaced_when_asked(trained: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--out", str(tmp_path / "r")]
    command += QUICK
    assert main(command) == 0
    before = (tmp_path / "r" / "report.json").read_text()
    (tmp_path / "r" / "report.json").write_text("old")
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "r" / "report.json").read_text() == before
    shutil.rmtree(tmp_path / "r")


def test_the_worst_images_of_a_checkpoint_show_its_scenes(trained: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", *QUICK, "--worst", "1"]
    assert main([*command, "--only-images-with-results", "--out", str(tmp_path)]) == 0
    pictures = list((tmp_path / "worst").glob("*.jpg"))
    assert len(pictures) == len(json.loads((tmp_path / "report.json").read_text())["worst_images"])
    for picture in pictures:
        assert len(Image.open(picture).convert("L").getcolors()) > 20


def test_a_policy_that_keeps_boxes_is_for_files_of_ground_truth_only(trained: Path, refused: Refused) -> None:
    said = refused("evaluate", "--checkpoint", trained / "best.pt", "--invalid", "keep", "--data", "shapes", *SHAPES)
    assert said == "invalid is 'keep', which is for evaluate --truth only: expected error, clip or drop"
