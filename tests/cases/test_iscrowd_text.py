"""A text is no yes or no: "0" for iscrowd is refused, in files and in dictionaries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mapopt.errors import DataError
from mapopt.metrics import GroundTruth

HERE = Path(__file__).resolve().parent / "iscrowd_text"


def test_a_text_is_refused(evaluated) -> None:
    _, said = evaluated(HERE / "truth.json", HERE / "results.json")
    assert "'iscrowd' is '0'. Expected 0, 1, true, false or null." in said
    with pytest.raises(DataError, match="annotation 0 has iscrowd '0': expected 0, 1, true, false or null"):
        GroundTruth.from_coco(HERE / "truth.json")


def test_what_json_has_for_it_is_read(evaluated, oracle, tmp_path) -> None:
    truth = json.loads((HERE / "truth.json").read_text())
    for entry in truth["annotations"]:
        entry["iscrowd"] = int(entry["iscrowd"])
    expected = oracle(truth, HERE / "results.json")
    for words in ((0, 1), (False, True), (None, True), (0.0, 1.0)):
        changed = {
            **truth,
            "annotations": [{**entry, "iscrowd": words[entry["iscrowd"]]} for entry in truth["annotations"]],
        }
        (tmp_path / "truth.json").write_text(json.dumps(changed))
        got, _ = evaluated(tmp_path / "truth.json", HERE / "results.json")
        assert got == pytest.approx(expected, abs=0.0006)
        assert GroundTruth.from_coco(changed).crowd.sum() == sum(entry["iscrowd"] for entry in truth["annotations"])
