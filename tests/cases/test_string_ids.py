"""Ids may be any value that JSON has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "string_ids"


def test_image_ids_may_be_texts(evaluated, oracle) -> None:
    got, _ = evaluated(HERE / "truth.json", HERE / "results.json")
    assert got == pytest.approx(oracle(HERE / "truth.json", HERE / "results.json"), abs=0.0006)


def renamed(tmp_path, images, categories):
    """Writes both files with ids that functions make of the old ones."""
    truth, results = (json.loads((HERE / name).read_text()) for name in ("truth.json", "results.json"))
    for entry in truth["images"]:
        entry["id"] = images(entry["id"])
    for entry in truth["categories"]:
        entry["id"] = categories(entry["id"])
    for entry in [*truth["annotations"], *results]:
        entry["image_id"] = images(entry["image_id"])
        entry["category_id"] = categories(entry["category_id"])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path / "truth.json", tmp_path / "results.json"


@pytest.mark.parametrize(
    "make", [lambda text: int(text[3:]) + 0.5, lambda text: -int(text[3:]), lambda text: 10**15 + int(text[3:])]
)
def test_fractions_and_large_numbers_are_ids_too(evaluated, tmp_path, make) -> None:
    files = renamed(tmp_path, make, lambda number: f"kind {number}")
    got, _ = evaluated(*files)
    assert got[0] == evaluated(HERE / "truth.json", HERE / "results.json")[0][0]


def test_results_may_name_images_by_their_files(evaluated, tmp_path) -> None:
    results = json.loads((HERE / "results.json").read_text())
    for entry in results:
        entry["image_id"] = str(int(entry["image_id"][3:]))
    (tmp_path / "results.json").write_text(json.dumps(results))
    got, text = evaluated(HERE / "truth.json", tmp_path / "results.json")
    assert got == evaluated(HERE / "truth.json", HERE / "results.json")[0]
    assert "images are matched by file name: the ids of the results are names" in text


def test_what_is_no_id_is_named(evaluated, tmp_path) -> None:
    truth = json.loads((HERE / "truth.json").read_text())
    truth["images"][2]["id"] = None
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    _, said = evaluated(tmp_path / "truth.json", HERE / "results.json")
    assert "entry 2 of the image list: 'id' is None. Expected a number or a text." in said
