"""Backslashes are taken for slashes where that finds the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import load_splits

DATA = Path(__file__).parent / "windows_separators"


@pytest.mark.parametrize("folder", ["coco", "list", "yaml"])
def test_paths_of_windows_are_read(folder: str) -> None:
    splits = load_splits(DATA / folder, size=(48, 64))
    assert [len(images) for _, images in splits.named()] == [3, 3, 3]
    assert splits.train.annotations.boxes[0].tolist() == [32, 15, 70, 37]
