"""Crops show what the image shows there, and their boxes are what is left of the image's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import read_image
from mapopt.data.crops import Windows, crop_annotations, read_crops
from mapopt.errors import ConfigError, DataError


def windows(*rows: tuple[int, float, float, float]) -> Windows:
    """Makes windows of (image, left, top, side)."""
    columns = np.array(rows, dtype=float).reshape(-1, 4)
    return Windows(columns[:, 0].astype(np.int64), columns[:, 1:3], columns[:, 3])


def slowly(annotations, chosen: Windows, size: int, visible: float) -> list[tuple]:
    """Returns (crop, label, crowd, box) of what `crop_annotations` should keep, one object at a time."""
    kept = []
    for row, (image, (left, top), side) in enumerate(zip(chosen.images, chosen.corners, chosen.sides, strict=True)):
        for index in np.flatnonzero(annotations.images == image):
            x1, y1, x2, y2 = annotations.boxes[index]
            cut = [max(x1, left), max(y1, top), min(x2, left + side), min(y2, top + side)]
            if cut[2] <= cut[0] or cut[3] <= cut[1]:
                continue
            fraction = (cut[2] - cut[0]) * (cut[3] - cut[1]) / ((x2 - x1) * (y2 - y1))
            box = [(value - start) * size / side for value, start in zip(cut, (left, top) * 2, strict=True)]
            crowd = bool(annotations.crowd[index]) or fraction < visible
            if not crowd or min(box[2] - box[0], box[3] - box[1]) >= 1:
                area = annotations.area[index] * fraction * (size / side) ** 2
                kept.append((row, int(annotations.labels[index]), crowd, *np.round([*box, area], 6).tolist()))
    return kept


@pytest.mark.parametrize("visible", [0.0, 0.3, 1.0])
def test_boxes_are_cut_as_one_at_a_time(make_annotations, visible) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(2, 40, (200, 2))], axis=1)
    given = make_annotations(
        widths=[100] * 3,
        heights=[100] * 3,
        boxes=boxes,
        labels=random.integers(0, 2, 200),
        images=random.integers(0, 3, 200),
        crowd=random.uniform(size=200) < 0.1,
        area=random.uniform(1, 50, 200),
        ids=np.arange(200),
    )
    chosen = windows(*((i % 3, *random.uniform(0, 50, 2), random.uniform(10, 50)) for i in range(30)))
    cut = crop_annotations(given, chosen, size=32, visible=visible)
    ours = [
        (int(row), int(label), bool(crowd), *np.round([*box, area], 6).tolist())
        for row, label, crowd, box, area in zip(cut.images, cut.labels, cut.crowd, cut.boxes, cut.area, strict=True)
    ]
    assert sorted(ours) == sorted(slowly(given, chosen, 32, visible))
    assert len(ours) > 100
    assert set(cut.crowd.tolist()) == {False, True}


def test_a_whole_number_of_pixels_at_full_size_is_the_image_itself(make_annotations, write_images, tmp_path) -> None:
    given = make_annotations(root=tmp_path)
    write_images(given, tmp_path)
    cut = read_crops(given, windows((0, 5, 2, 16), (2, 1, 9, 16), (0, 0, 4, 16)), size=16, visible=0.3)
    first, last = read_image(tmp_path / "a.png"), read_image(tmp_path / "c.png")
    assert torch.equal(cut.pixels[0], first[:, 2:18, 5:21])
    assert torch.equal(cut.pixels[1], last[:, 9:25, 1:17])
    assert torch.equal(cut.pixels[2], first[:, 4:20, 0:16])
    assert cut.annotations.file_names == ("a.png#0", "c.png#1", "a.png#2")


def test_an_image_is_scaled_with_its_boxes(make_annotations, write_images, tmp_path) -> None:
    given = make_annotations(root=tmp_path)
    write_images(given, tmp_path)
    cut = read_crops(given, windows((1, 0, 0, 30)), size=15, visible=0.3)
    pairs = read_image(tmp_path / "b.png").float()
    # Halving averages over a neighbourhood: the means agree.
    assert abs(float(cut.pixels.float().mean() - pairs.mean())) < 1
    assert len(cut.annotations.ids) == 0


def test_what_cannot_be_done_is_said(make_annotations, tmp_path) -> None:
    given = make_annotations(root=tmp_path)
    with pytest.raises(ConfigError, match="expected at least 1 pixel, and a fraction of 0 to 1"):
        read_crops(given, windows((0, 0, 0, 10)), size=16, visible=1.5)
    with pytest.raises(DataError, match="no such image"):
        read_crops(given, windows((0, 0, 0, 10)), size=16, visible=0.5)
    with pytest.raises(DataError, match="holds no image"):
        read_crops(given, windows(), size=16, visible=0.5)
