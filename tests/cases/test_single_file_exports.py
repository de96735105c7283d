"""Exports that are one COCO file (CVAT, Label Studio) say how to divide them, and are divided by seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.cli import main
from mapopt.data import load_splits
from mapopt.errors import ConfigError, DataError

DATA = Path(__file__).parent / "single_file_exports"
SPLIT = (0.6, 0.2, 0.2)


@pytest.mark.parametrize(
    ("folder", "file"), [("cvat", "annotations/instances_default.json"), ("labelstudio", "result.json")]
)
def test_one_file_is_divided_by_seed(folder: str, file: str) -> None:
    name = Path(file).name
    with pytest.raises(DataError, match=rf"is one set \(the COCO file {name}\).*Divide it by seed: --split 0\.7"):
        load_splits(DATA / folder, size=(48, 64))
    splits = load_splits(DATA / folder, size=(48, 64), split=SPLIT)
    count = sum(len(images) for _, images in splits.named())
    assert splits.note == "One set is divided into train, val and test sets (0.6, 0.2, 0.2) by seed 0."
    assert count == len({name for _, images in splits.named() for name in images.annotations.file_names})
    same = load_splits(DATA / folder / file, size=(48, 64), split=SPLIT)
    assert [images.fingerprint for _, images in same.named()] == [images.fingerprint for _, images in splits.named()]
    other = {load_splits(DATA / folder, size=(48, 64), split=SPLIT, seed=seed).test.fingerprint for seed in range(4)}
    assert len(other) > 1


def test_sets_of_its_own_are_not_divided_again() -> None:
    folder = Path(__file__).parent / "windows_separators" / "coco"
    with pytest.raises(ConfigError, match=r"--split is given, but .* has sets of its own \(train, val, test\)"):
        load_splits(folder, size=(48, 64), split=SPLIT)
    with pytest.raises(ConfigError, match="expected three positive fractions for train, val and test whose sum is 1"):
        load_splits(folder, size=(48, 64), split=(0.7, 0.2, 0.2))


def test_the_commands_divide_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(DATA / "cvat")
    flags = ["--data", data, "--split", ".6", ".2", ".2", "--size", "48", "64", "--images", "4", "--rounds", "1"]
    flags += ["--recipe.batch-size", "2", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", *flags]) == 0
    said = capsys.readouterr().out
    command = ["evaluate", "--checkpoint", str(tmp_path / "run"), "--device", "cpu", "--resamples", "0"]
    assert main(command) == 0
    stored = capsys.readouterr().out
    assert main([*command, "--data", data]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == stored.splitlines()[2:]
    assert "One set is divided into train, val and test sets (0.6, 0.2, 0.2) by seed 0." in said
    assert main(["train", *flags[2:6], *flags[9:], "--out", str(tmp_path / "other")]) == 2
    assert "--split is given, but it says nothing about --data shapes: leave it out" in capsys.readouterr().err
