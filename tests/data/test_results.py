"""Files of results: what is written is read back, and a wrong entry is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.data.results import read_results, write_results
from mapopt.errors import DataError
from mapopt.metrics import Detections

GOOD = {"image_id": 3, "category_id": 1, "bbox": [1.5, 2, 3, 4.25], "score": 0.5}


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 100, (50, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 50, (50, 2))], axis=1)
    places, labels = generator.integers(0, 4, 50), generator.integers(0, 2, 50)
    detections = Detections(boxes, generator.random(50), labels, places)
    write_results(tmp_path / "r.json", detections, image_ids=[10, 20, 40, 80], category_ids=[7, 3])
    again = read_results(tmp_path / "r.json")
    np.testing.assert_allclose(again.boxes, boxes, rtol=1e-14)
    assert (again.scores == detections.scores).all()
    assert again.labels.tolist() == np.array([7, 3])[labels].tolist()
    assert again.image_ids.tolist() == np.array([10, 20, 40, 80])[places].tolist()


def test_a_file_without_a_box_is_a_list_without_entries(tmp_path: Path) -> None:
    none = np.zeros(0, dtype=np.int64)
    write_results(tmp_path / "r.json", Detections(np.zeros((0, 4)), [], none, none), image_ids=[1], category_ids=[1])
    assert json.loads((tmp_path / "r.json").read_text()) == []
    assert len(read_results(tmp_path / "r.json")) == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "result 1 is of type int: expected a dictionary with 'bbox'"),
        ({"image_id": 3, "category_id": 1, "score": 1}, "result 1 has no 'bbox'"),
        ({**GOOD, "image_id": "3"}, "result 1 has image_id '3': expected a whole number"),
        ({**GOOD, "category_id": 1.0}, "result 1 has category_id 1.0: expected a whole number"),
        ({**GOOD, "bbox": [1, 2, 3]}, "result 1 has bbox [1, 2, 3]: expected four numbers"),
        ({**GOOD, "bbox": [1, 2, -3, 4]}, "result 1 has bbox [1.0, 2.0, -3.0, 4.0]: expected a width and a height"),
        ({**GOOD, "bbox": [1, 2, float("nan"), 4]}, "detection 1 has box [1.0, 2.0, nan, 6.0]: expected finite"),
        ({**GOOD, "score": None}, "result 1 has score None: expected a number"),
        ({**GOOD, "score": float("nan")}, "score of detection 1 is NaN"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD, entry]))
    with pytest.raises(DataError) as caught:
        read_results(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("3")
    with pytest.raises(DataError, match=r"r\.json: is of type int; expected COCO results"):
        read_results(path)
    path.write_text('{"annotations": []}')
    with pytest.raises(DataError, match=r"r\.json: is COCO annotations; expected COCO results"):
        read_results(path)
