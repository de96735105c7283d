"""Images of 16 bits that use 12 of them are nearly black: that is said, and they are scaled on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits
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
