"""Output folders: refused when something is in them, and cleared of nothing but what was written there."""

from pathlib import Path

import pytest

from mapopt.errors import ConfigError, StoreError
from mapopt.output import Output


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    Output(tmp_path, ("a.txt",)).check()
    Output(tmp_path / "new", ("a.txt",)).check()
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    with pytest.raises(StoreError, match=r"is not empty\. Give --overwrite to replace it, or another --out\.$"):
        Output(tmp_path, ("a.txt",)).check()
    output = Output(tmp_path, ("a.txt", "b.txt"), "b.txt")
    with pytest.raises(StoreError, match=r"is not empty\. Give --resume to go on with the run in it, --overwrite"):
        output.check()
    with pytest.raises(StoreError, match=r"holds no run to resume \(no b.txt\)\. Give the --out of the run\."):
        output.check(resume=True)
    (tmp_path / "b.txt").touch()
    output.check(resume=True)
    output.check(overwrite=True)
    with pytest.raises(ConfigError, match="--resume goes on with what is there and --overwrite replaces it"):
        output.check(resume=True, overwrite=True)


def test_what_is_written_before_the_mark_is_a_run_that_was_begun(tmp_path: Path) -> None:
    output = Output(tmp_path, ("a.txt", "b.txt"), "b.txt", before=("a.txt",))
    (tmp_path / "a.txt").touch()
    output.check(resume=True)
    with pytest.raises(StoreError, match="is not empty"):
        output.check()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file: is a file\. Give --out a folder\."):
        Output(tmp_path / "file", ()).check(overwrite=True)


def test_only_what_the_command_writes_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("a.txt", ".a.txt.x1", "mine.txt", ".hidden", "pictures/1.jpg", "pictures/mine.png"):
        (tmp_path / name).touch()
    output = Output(tmp_path, ("a.txt", "pictures/*.jpg"))
    output.clear_unfinished()
    assert (tmp_path / "a.txt").exists()
    assert not (tmp_path / ".a.txt.x1").exists()
    output.clear()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"mine.txt", ".hidden", "pictures/mine.png"}


def test_what_cannot_be_cleared_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StoreError, match=r"a\.txt: cannot be removed \(.*\)\. Choose another --out\."):
        Output(tmp_path, ("a.txt",)).clear()
