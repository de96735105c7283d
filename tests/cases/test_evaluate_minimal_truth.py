"""Ids, boxes and categories are enough for an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "evaluate_minimal_truth"


def test_a_file_of_ids_and_boxes_is_evaluated(evaluated, oracle) -> None:
    got, _ = evaluated(HERE / "truth.json", HERE / "results.json")
    assert got == pytest.approx(oracle(HERE / "truth.json", HERE / "results.json"), abs=0.0006)
    assert got[0] == pytest.approx(0.290, abs=0.0006)


def test_categories_are_called_by_their_ids_where_they_have_no_name(evaluated, tmp_path) -> None:
    truth = json.loads((HERE / "truth.json").read_text())
    for entry in truth["categories"]:
        entry.pop("name", None)
    for entry in truth["annotations"]:
        for key in ("id", "area", "iscrowd"):
            entry.pop(key, None)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    got, text = evaluated(tmp_path / "truth.json", HERE / "results.json")
    assert got[0] == pytest.approx(0.290, abs=0.0006)
    assert "\n category 1 " in text


def test_lists_of_images_and_categories_may_be_left_out(evaluated, tmp_path) -> None:
    truth = json.loads((HERE / "truth.json").read_text())
    (tmp_path / "truth.json").write_text(json.dumps({"annotations": truth["annotations"]}))
    got, _ = evaluated(tmp_path / "truth.json", HERE / "results.json", "--unknown", "drop")
    assert got[0] == pytest.approx(0.290, abs=0.05)
