"""The store holds whole runs or none, and says what to do where it cannot."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from mapopt.errors import StoreError
from mapopt.experiments.comparison import store as module
from mapopt.experiments.comparison.store import ABANDONED, RunKey, Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def _age(path: Path) -> None:
    then = time.time() - ABANDONED - 1
    os.utime(path, (then, then))


def test_a_run_is_read_as_it_was_written(store, make):
    run, rounds, drawn = make.run(status="stopped", reason="enough"), make.rounds(), make.drawn()
    written = store.write(run, rounds, drawn)
    read = store.read("demo", "shapes", "baseline", 0)
    assert read == run == written
    assert read.folder == written.folder == store.root / "demo/shapes/baseline/0"
    assert list(read.rounds) == rounds
    assert read.drawn is not None
    for name, array in drawn.items():
        np.testing.assert_array_equal(read.drawn[name], array)
        assert read.drawn[name].dtype == array.dtype


def test_run_json_has_the_documented_fields(store, make):
    folder = store.write(make.run(), make.rounds()).folder
    record = json.loads((folder / "run.json").read_text())
    assert record["version"] == 2
    assert set(record) == {
        *("version", "key", "experiment", "task", "method", "label", "seed", "status", "reason", "selected", "device"),
        *("val", "test", "images", "evaluated", "seconds", "search", "training", "categories"),
        *("processor_seconds", "asked", "made_by", "files", "checksum"),
    }
    assert set(record["files"]) == {"rounds.jsonl"}
    assert set(record["test"]) == {
        *("ap", "ap50", "ap75", "ar100", "per_category", "stats"),
        *("calibration_error", "f1", "best_f1", "lrp", "optimal_lrp"),  # -1 where nobody asked, as the next
        *("ap_perfect_boxes", "ap_perfect_ranking", "class_loss", "box_loss"),
    }
    assert len(record["test"]["stats"]) == 12
    assert record["search"] == {"images": 4800, "seconds": 120.0, "runs": 12, "processor_seconds": None}


def test_a_diverged_round_with_a_loss_that_is_no_number_survives_the_store(store, make):
    read = store.write(make.run(status="diverged"), make.rounds(diverged=True))
    assert math.isnan(read.rounds[-1].interval.class_loss)
    assert read.rounds[-1].interval.diverged


def test_a_run_without_pictures_has_none(store, make):
    assert store.write(make.run(), make.rounds()).drawn is None


def test_has_asks_for_the_same_key(store, make):
    assert not store.has("demo", "shapes", "baseline", 0, "abc")
    store.write(make.run(), make.rounds())
    assert store.has("demo", "shapes", "baseline", 0, "abc")
    assert not store.has("demo", "shapes", "baseline", 0, "another")
    assert not store.has("demo", "shapes", "baseline", 1, "abc")


def test_a_run_with_another_key_takes_the_place(store, make):
    store.write(make.run(ap=0.1), make.rounds(), make.drawn())
    store.write(make.run(ap=0.2, key="new"), make.rounds(2))
    read = store.read("demo", "shapes", "baseline", 0)
    assert (read.key, read.test.ap, len(read.rounds), read.drawn) == ("new", 0.2, 2, None)
    assert os.listdir(read.folder.parent) == ["0"]


def test_runs_come_by_task_method_and_the_number_of_the_seed(store, make):
    for method, seed in (("replay", 0), ("agent", 10), ("agent", 2)):
        store.write(make.run(method, seed), make.rounds())
    store.write(make.run("agent", 1, task="cells"), make.rounds())
    runs = [(run.task, run.method, run.seed) for run in store.runs("demo")]
    assert runs == [("cells", "agent", 1), ("shapes", "agent", 2), ("shapes", "agent", 10), ("shapes", "replay", 0)]


def test_rounds_are_read_only_when_asked_for(store, make):
    folder = store.write(make.run(), make.rounds()).folder
    (folder / "rounds.jsonl").write_text("no json\n")
    (run,) = store.runs("demo")
    with pytest.raises(StoreError, match=r"rounds.jsonl: not a readable run .* delete .* run the same command again"):
        _ = run.rounds


def test_a_write_that_fails_leaves_the_old_run_and_nothing_else(store, make, monkeypatch):
    place = store.write(make.run(), make.rounds()).folder
    monkeypatch.setattr(module, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.write(make.run(ap=0.9, key="new"), make.rounds())
    assert store.read("demo", "shapes", "baseline", 0).test.ap == 0.3
    assert os.listdir(place.parent) == ["0"]


def test_a_replacement_that_fails_at_the_last_step_leaves_the_old_run(store, make, monkeypatch):
    place = store.write(make.run(), make.rounds()).folder
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".new"):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", fail)
    with pytest.raises(StoreError, match="cannot be written"):
        store.write(make.run(key="new"), make.rounds())
    assert os.listdir(place.parent) == ["0"]
    assert store.read("demo", "shapes", "baseline", 0).key == "abc"


def test_what_a_killed_write_left_is_not_seen_and_later_cleared_away(store, make):
    place = store.write(make.run(), make.rounds()).folder
    leftover = place.parent / ".1.x_y8.new"
    leftover.mkdir()
    (leftover / "run.json").write_text("{")
    assert [run.seed for run in store.runs("demo")] == [0]
    assert leftover.exists(), "a write that may still be going on was disturbed"
    _age(leftover)
    store.runs("demo")
    assert os.listdir(place.parent) == ["0"]


def test_who_keeps_others_out_clears_young_leftovers_away(store, make):
    place = store.write(make.run(), make.rounds()).folder
    for name in (".0.x_y8.new", ".1.x_y8.new"):
        (place.parent / name).mkdir()
        (place.parent / name / "run.json").write_text("{")
    os.rename(place, place.parent / ".0.z.old")
    store.sweep("demo")
    assert [path.name for path in place.parent.iterdir()] == ["0"]
    assert store.read("demo", "shapes", "baseline", 0)
    store.sweep("another")


def test_a_write_clears_leftovers_away_too(store, make):
    place = store.write(make.run(), make.rounds()).folder
    (place.parent / ".0.abc.new").mkdir()
    _age(place.parent / ".0.abc.new")
    store.write(make.run(seed=1), make.rounds())
    assert sorted(os.listdir(place.parent)) == ["0", "1"]


def test_a_run_whose_replacement_was_killed_between_the_renames_gets_its_place_back(store, make):
    place = store.write(make.run(), make.rounds()).folder
    moved = place.with_name(".0.abc.old")
    place.rename(moved)
    _age(moved)
    assert [run.seed for run in store.runs("demo")] == [0]
    assert os.listdir(place.parent) == ["0"]


def test_files_of_others_stay(store, make):
    place = store.write(make.run(), make.rounds()).folder
    (place.parent / ".notes.mine.txt").write_text("x")
    _age(place.parent / ".notes.mine.txt")
    (place.parent / "summary").mkdir()
    assert [run.seed for run in store.runs("demo")] == [0]
    assert (place.parent / ".notes.mine.txt").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "test": 3}'])
def test_a_damaged_run_says_what_to_delete(store, make, content):
    folder = store.write(make.run(), make.rounds()).folder
    (folder / "run.json").write_text(content)
    for ask in (lambda: store.runs("demo"), lambda: store.has("demo", "shapes", "baseline", 0, "abc")):
        with pytest.raises(StoreError, match=r"run.json: .* [Dd]elete \S+/0 and run the same command"):
            ask()


def test_damaged_pictures_say_what_to_delete(store, make):
    run = store.write(make.run(), make.rounds(), make.drawn())
    (run.folder / "drawn.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(StoreError, match=r"drawn.npz: not a readable run .* delete"):
        _ = run.drawn


def test_pictures_cannot_carry_code(store, make):
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write(make.run(), make.rounds(), {"pixels": np.array([object()])})
    assert not store.has("demo", "shapes", "baseline", 0, "abc")


def test_a_run_of_another_version_is_refused(store, make):
    folder = store.write(make.run(), make.rounds()).folder
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "version": 7}))
    with pytest.raises(StoreError, match=r"is of version 7; expected a run .* in version 2\. .* use the mapopt"):
        store.read("demo", "shapes", "baseline", 0)


def test_a_run_that_is_not_there_is_named(store):
    with pytest.raises(StoreError, match=r"shapes/agent/3: no such run; expected one that `mapopt compare` stored"):
        store.read("demo", "shapes", "agent", 3)


def test_an_unknown_experiment_is_refused_with_the_nearest(store, make):
    with pytest.raises(StoreError, match="no experiment is stored here; run `mapopt compare` first"):
        store.runs("demo")
    store.write(make.run(), make.rounds())
    with pytest.raises(StoreError, match="unknown experiment 'dem': did you mean 'demo'"):
        store.runs("dem")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match=r"the name of a folder of the store is .*: expected at most 120 letters"):
        RunKey("demo", name, "agent", 0).folder(tmp_path)


def test_a_store_that_cannot_be_written_says_so(tmp_path, make):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the run cannot be written .* choose another folder for the runs"):
        Store(tmp_path / "file").write(make.run(), make.rounds())


def test_a_run_that_was_never_stored_has_no_rounds(make):
    with pytest.raises(StoreError, match=r"baseline/0 is in no store yet: write it to one"):
        _ = make.run().rounds


def test_a_copied_run_is_not_counted_twice(store, make):
    folder = store.write(make.run(), make.rounds()).folder
    shutil.copytree(folder, folder.parent / "1")
    with pytest.raises(StoreError, match=r"1/run.json: is the run demo/shapes/baseline/0, copied or moved here"):
        store.runs("demo")
    shutil.rmtree(folder.parent / "1")
    shutil.copytree(store.root / "demo", store.root / "again")
    with pytest.raises(StoreError, match="Move it back, or delete the copy"):
        store.runs("again")
    shutil.copytree(folder.parent, folder.parent.parent / "agent")
    with pytest.raises(StoreError, match=r"agent/0/run.json: is the run demo/shapes/baseline/0"):
        store.runs("demo")


def _as_it_was(store, run):
    """Returns whether the run is read as it was written, or refused in one line."""
    try:
        read = store.read(run.experiment, run.task, run.method, run.seed)
        same = [np.array_equal(read.drawn[key], run.drawn[key]) for key in run.drawn]
        return (read, read.rounds) == (run, run.rounds) and all(same)
    except StoreError as error:
        return "\n" not in str(error)


def test_every_flipped_bit_is_refused_or_changes_nothing(store, make):
    run = store.write(make.run(), make.rounds(2), make.drawn())
    generator = np.random.default_rng(0)
    for name in ("run.json", "rounds.jsonl", "drawn.npz"):
        path = run.folder / name
        content = path.read_bytes()
        for _ in range(60):
            position, bit = int(generator.integers(len(content))), int(generator.integers(8))
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            assert _as_it_was(store, run)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 0.5}, "seed is '0.5': expected a whole number"),
        ({"images": -1}, "images is '-1': expected a whole number from 0"),
        ({"images": True}, "images is 'True'"),
        ({"seconds": float("nan")}, "seconds is 'nan': expected seconds from 0"),
        ({"status": "done"}, "status is 'done': expected one of finished, stopped, diverged"),
        ({"label": 3}, "label is '3': expected a text"),
        ({"selected": 9}, "selected is '9': expected a position below 4"),
        ({"test": {"ap": 1.5}}, r"test ap is '1.5': expected -1 or 0 to 1"),
        ({"test": {"class_loss": float("inf")}}, "test class_loss is 'inf': expected a number"),
        ({"val": {"per_category": [0.1]}}, "val per_category is '1': expected 3"),
        ({"test": {"stats": [0.1]}}, "stats is '1': expected 12 numbers"),
        ({"search": {"seconds": -3.0}}, "search seconds is '-3.0'"),
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
    ],
)
def test_what_is_out_of_its_range_is_refused_in_records_without_a_checksum_too(store, make, change, message):
    """Records of version 1 have none, and whoever edits a record can write one."""
    path = store.write(make.run(), make.rounds()).folder / "run.json"
    record = json.loads(path.read_text())
    for name in ("checksum", "files", "asked", "made_by", "processor_seconds"):
        del record[name]
    record["version"] = 1
    path.write_text(json.dumps(record))
    assert len(store.read("demo", "shapes", "baseline", 0).rounds) == 4
    for name, value in change.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match=re.escape(message)):
        _ = store.read("demo", "shapes", "baseline", 0).rounds


def test_an_edited_record_is_refused(store, make):
    path = store.write(make.run(), make.rounds()).folder / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "label": "better"}))
    with pytest.raises(StoreError, match="its content is not what its checksum says"):
        store.runs("demo")
    del record["checksum"]
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match="has no checksum"):
        store.runs("demo")


def test_rounds_of_another_run_are_refused(store, make):
    first = store.write(make.run(), make.rounds())
    other = store.write(make.run(seed=1), make.rounds(ap=0.2))
    shutil.copy(other.folder / "rounds.jsonl", first.folder / "rounds.jsonl")
    with pytest.raises(StoreError, match=r"its content is not what the checksum in run\.json says"):
        _ = store.read("demo", "shapes", "baseline", 0).rounds
    (other.folder / "rounds.jsonl").write_text("")
    with pytest.raises(StoreError, match="not a readable run"):
        _ = store.read("demo", "shapes", "baseline", 1).rounds
