"""Images of 16 bits that use 12 of them are nearly black: that is said, and they are scaled on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mapopt
from mapopt.data import load_splits
from mapopt.data.pictures import PictureSet
from mapopt.errors import ConfigError, DataError

DATA = Path(__file__).parent / "sixteen_bit" / "data"


def test_the_bits_in_use_are_said_and_can_be_given() -> None:
    dark = load_splits(DATA, size=(48, 64))
    assert "In the train set: The images of 16 bits use 12 of 16 bits (the largest value is 2176)" in dark.note
    assert "--bits 12 scales them." in dark.note
    assert dark.train.pixels[0][:, 5:40, 5:60].max() == 2176 >> 8
    bright = load_splits(DATA, size=(48, 64), bits=12)
    assert bright.note == ""
    assert bright.train.pixels[0][:, 5:40, 5:60].max() > 64
    with pytest.raises(DataError, match=r"does not fit into 11 bits\. Give --bits 12 or more"):
        load_splits(DATA, size=(48, 64), bits=11)
    with pytest.raises(ConfigError, match="bits is 20: expected 8 to 16"):
        load_splits(DATA, size=(48, 64), bits=20)


def test_a_detector_sees_pictures_as_in_training(tmp_path: Path) -> None:
    run = mapopt.train(DATA, size=(48, 64), bits=12, images=2, rounds=1, recipe={"batch_size": 2}, device="cpu")
    assert run.detector.bits == 12
    pictures = PictureSet(DATA / "images", bits=run.detector.bits)
    assert np.asarray(next(iter(pictures))).max() > 100
    assert np.asarray(next(iter(PictureSet(DATA / "images")))).max() < 16
    assert run.detector.evaluate().ap == run.test.ap
