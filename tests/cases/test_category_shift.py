"""Categories that are numbered otherwise are recognized from the boxes, whether their ids are known or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "category_shift"


def test_a_shift_by_one_is_named_with_what_ap_would_be(evaluated) -> None:
    got, text = evaluated(HERE / "truth.json", HERE / "results.json")
    assert got[0] == 0
    assert "categories seem to be numbered otherwise" in text.splitlines()[0]
    assert "every category id less by 1: 1 is 0 (c1), 2 is 1 (c2)" in text
    assert "AP is 0.000, regardless of category 0.172, and 0.179 with that numbering" in text


def rewritten(tmp_path, number):
    """Writes right results with category ids that a function makes of the right ones."""
    results = json.loads((HERE / "results.json").read_text())
    for entry in results:
        entry["category_id"] = number(entry["category_id"] - 1)
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path / "results.json"


def test_the_right_numbering_is_no_reason_to_warn(evaluated, tmp_path) -> None:
    got, text = evaluated(HERE / "truth.json", rewritten(tmp_path, lambda category: category))
    assert got[0] == pytest.approx(0.179, abs=0.0006)
    assert "Warning" not in text


@pytest.mark.parametrize("flags", [(), ("--unknown", "drop")])
def test_unknown_ids_are_explained_before_any_advice(evaluated, tmp_path, flags) -> None:
    results = rewritten(tmp_path, lambda category: category + 2)
    got, text = evaluated(HERE / "truth.json", results, *flags)
    assert "categories seem to be numbered otherwise" in text
    assert "every category id less by 2" in text
    assert "--unknown drop" not in text
    assert got or "does not list" in text


def test_swapped_categories_are_named(evaluated, tmp_path) -> None:
    results = rewritten(tmp_path, lambda category: {0: 1, 1: 0}.get(category, category))
    _, text = evaluated(HERE / "truth.json", results)
    assert "would with two of them swapped: " in text
