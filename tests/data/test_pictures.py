"""Pictures in any form: opened, named and measured, and refused in one line where they are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mapopt.data.pictures import PictureSet
from mapopt.errors import DataError


def test_a_part_is_a_set_at_one_size_and_knows_its_place() -> None:
    pictures = PictureSet([np.full((20 + number, 40, 3), 50 * number, dtype=np.uint8) for number in range(5)])
    notes = pictures.notes(["a", "b"])
    assert len(pictures) == len(notes) == 5
    assert notes.heights.tolist() == [20, 21, 22, 23, 24]
    assert notes.category_names == ("a", "b")
    parts = list(pictures.parts(["a", "b"], (16, 16), together=2))
    assert [(start, len(images)) for start, images in parts] == [(0, 2), (2, 2), (4, 1)]
    assert parts[1][1].annotations == notes.select([2, 3])
    assert parts[2][1].pixels.shape == (1, 3, 16, 16)
    assert parts[1][1].pixels[1, :, 0, 0].tolist() == [150, 150, 150]
    assert parts[0][1].scale.tolist() == pytest.approx([0.4, 0.4])


def test_gray_and_floating_numbers_become_three_channels_of_bytes() -> None:
    gray = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)
    expected = np.repeat(gray[:, :, None], 3, axis=2)
    forms: list[Any] = [
        gray,
        gray[:, :, None],
        gray / 255,
        torch.from_numpy(gray),
        torch.from_numpy(gray)[None],
        torch.from_numpy(expected).movedim(-1, 0) / 255,
        Image.fromarray(gray),
    ]
    pictures = PictureSet(forms)
    assert len(pictures) == len(forms)
    for position, picture in enumerate(pictures):
        assert np.array_equal(np.asarray(picture), expected), position


def test_four_dimensions_are_several_images() -> None:
    assert len(PictureSet(np.zeros((3, 8, 8, 3)))) == 3
    assert len(PictureSet([torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8)])) == 3


def test_a_file_may_be_given_twice(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    notes = PictureSet([tmp_path / "a.png", tmp_path / "a.png"]).notes(["a"])
    assert notes.file_names == (f"0: {tmp_path / 'a.png'}", f"1: {tmp_path / 'a.png'}")


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "no image was given: give a file, a folder, a PIL image, an array or a tensor"),
        ([np.zeros((8, 8, 3)), 3], "image 1 is of type int: expected a path, a PIL image, an array or a tensor"),
        (
            np.zeros((8, 8, 4)),
            "image 0 has the shape [8, 8, 4]: expected an array [height, width, 3] or [height, width]",
        ),
        (torch.zeros(8, 8, 3), "image 0 has the shape [8, 3, 8]: expected an array [height, width, 3] or [height, wid"),
        (np.full((8, 8), 300), "image 0 holds numbers from 300 to 300: expected whole numbers from 0 to 255, or"),
        (np.full((8, 8), 2.5), "image 0 holds numbers from 2.5 to 2.5: expected whole numbers from 0 to 255, or"),
        (np.full((8, 8), np.nan), "image 0 holds numbers from nan to nan: expected"),
        ("none.jpg", "none.jpg: no such image or folder. Check the path."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_refused(pictures: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        PictureSet(pictures)
    assert str(caught.value).startswith(message)
