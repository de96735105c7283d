"""`mapopt bench audit --doctor`: files that another tool names, beside an audit of the same folder."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.planting import plant
from mapopt.experiments.bench.label_audit_doctor import NEARER, OURS, THEIRS, ask_doctor
from mapopt.experiments.bench.label_audit_tables import doctor_table


@pytest.fixture(scope="module")
def true(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    notes = make_shapes(ShapesConfig(size=64, objects=(2, 5)), seed=5, count=40).annotations
    for name in notes.file_names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(folder / name)
    return replace(notes, root=folder)


def pretend(folder, text: str):
    """Returns a Python that does what a shell script says."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


def test_files_with_second_labels_are_counted_for_the_doctor_and_for_an_audit_of_the_same_folder(true, tmp_path):
    faults = plant(true, fraction=0.1, seed=0)
    twice = np.unique(faults.annotations.images[faults.kind == "labeled_twice"])
    right = int(np.setdiff1d(np.arange(len(true)), twice)[0])
    names = [f"labels/train/{image:06d}.txt" for image in twice.tolist()]
    answer = {
        "version": "1.2.3",
        "given": {"labels.duplicate_box": {"count": 2, "files": [names[0], f"labels/train/{right:06d}.txt"]}},
        "other": {"labels.duplicate_box": {"count": len(names), "files": names}},
    }
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    # It is called as: python doctor_files.py DATA.yaml IOU, with a folder that is there; it may say other things first.
    said = ask_doctor(pretend(tmp_path, f'test -f "$2" && echo hello && cat "{tmp_path}/answer.json"'), faults, true)
    assert said.version == "1.2.3"
    assert said.files == len(twice)
    assert said.recall == {OURS: 1.0, THEIRS: pytest.approx(1 / len(twice)), NEARER: 1.0}
    assert said.precision == {OURS: 1.0, THEIRS: 0.5, NEARER: 1.0}
    assert said.checks == {"labels.duplicate_box": (2, 2)}
    table = doctor_table([SimpleNamespace(name="shapes", doctor=said)])
    assert [next(iter(column.cells)) for column in table.columns] == [OURS, "1.00, 1.00"]
    assert doctor_table([SimpleNamespace(name="shapes", doctor=None)]) is None


def test_a_doctor_that_fails_or_is_not_there_is_an_error_in_one_line(true, tmp_path, capsys):
    faults = plant(true, fraction=0.1, seed=0)
    with pytest.raises(ConfigError, match=r"it failed \(none here\)\. Expected a Python with libreyolo installed"):
        ask_doctor(pretend(tmp_path, "echo none here >&2\nexit 1"), faults, true)
    (tmp_path / "set").mkdir()
    assert main(["bench", "audit", "--data", str(tmp_path), "--sets", "set", "--doctor", "nowhere/python"]) == 2
    assert "expected a Python with libreyolo installed" in capsys.readouterr().err
