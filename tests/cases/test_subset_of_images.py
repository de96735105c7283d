"""Images without a detection are counted aloud, and can be left out."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "subset_of_images"


def test_images_without_detections_are_said_before_the_numbers(evaluated, oracle) -> None:
    got, text = evaluated(HERE / "truth.json", HERE / "results.json")
    assert got[0] == pytest.approx(oracle(HERE / "truth.json", HERE / "results.json")[0], abs=0.0006)
    assert text.splitlines()[0].endswith("; 9 of 12 images have no detection")


def test_only_those_with_results_can_be_evaluated(evaluated, oracle) -> None:
    got, text = evaluated(HERE / "truth.json", HERE / "results.json", "--only-images-with-results")
    expected = oracle(HERE / "truth.json", HERE / "results.json", lambda params: setattr(params, "imgIds", [1, 2, 3]))
    assert got == pytest.approx(expected, abs=0.0006)
    assert got[0] == pytest.approx(0.197, abs=0.0006)
    assert "have no detection" not in text
