"""Boxes without area and over the edge count in a ground truth as pycocotools counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "truth_as_it_is"


@pytest.mark.parametrize("flags", [(), ("--invalid", "keep")])
def test_the_ground_truth_is_counted_as_it_is(evaluated, oracle, flags) -> None:
    got, text = evaluated(HERE / "truth.json", HERE / "results.json", *flags)
    expected = oracle(HERE / "truth.json", HERE / "results.json")
    assert got == pytest.approx(expected, abs=0.0006)
    assert expected[:4] == pytest.approx([0.290397, 0.427691, 0.341189, 0.25], abs=1e-6)
    assert "annotated boxes have no area or a part outside of the image, and count as in pycocotools" in text


def test_other_policies_are_still_there(evaluated) -> None:
    _, said = evaluated(HERE / "truth.json", HERE / "results.json", "--invalid", "error")
    assert "has no area" in said or "reaches out of it" in said
    kept, _ = evaluated(HERE / "truth.json", HERE / "results.json")
    for policy in ("clip", "drop"):
        other, text = evaluated(HERE / "truth.json", HERE / "results.json", "--invalid", policy)
        assert len(other) == 12
        assert other != kept
        assert "as in pycocotools" not in text
