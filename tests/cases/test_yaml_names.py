"""Names of categories are texts as they are written, also where YAML takes them for truth values, numbers or times."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapopt.data import read_yolo, write_yolo

DATA = Path(__file__).parent / "yaml_names"


@pytest.mark.parametrize(("folder", "names"), [("yes_no", ("yes", "no", "pig")), ("numbers", ("1.10", "007", "12:30"))])
def test_names_are_as_they_are_written(folder: str, names: tuple[str, ...], tmp_path: Path) -> None:
    notes = read_yolo(DATA / folder / "data.yaml", "train")
    assert notes.category_names == names
    write_yolo(notes, tmp_path, "train")
    write_yolo(notes, tmp_path, "val")
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text + f"test: {DATA / folder / 'images' / 'test'}\n")
    assert read_yolo(tmp_path / "data.yaml", "test").category_names == names


@pytest.mark.parametrize("name", ["null", "~", "2024-01-02", "1e3", "0x1F", ".5", "on", "N", "1_000", "=", "<<"])
def test_no_name_is_typed(name: str, tmp_path: Path) -> None:
    images = DATA / "yes_no" / "images" / "test"
    for names in (f"[{name}, b, c]", f"{{0: {name}, 1: b, 2: c}}"):
        (tmp_path / "data.yaml").write_text(f"names: {names}\ntest: {images}\n")
        assert read_yolo(tmp_path / "data.yaml", "test").category_names == (name, "b", "c")
