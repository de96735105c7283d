"""`mapopt bench audit`: what was planted is counted, really mended, and set beside what another tool says."""

from __future__ import annotations

import json
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes, write_coco
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.planting import PLANTED, plant
from mapopt.experiments.bench import label_audit
from mapopt.experiments.bench.label_audit import WITHOUT, area_under, cleanlab_areas, undone
from mapopt.metrics import Detections


@pytest.fixture(scope="module")
def scenes():
    return make_shapes(ShapesConfig(size=64, objects=(2, 5)), seed=5, count=120)


@pytest.fixture(scope="module")
def true(scenes):
    return scenes.annotations


def perfect(notes) -> Detections:
    """Returns what a detector sees that is never wrong."""
    return Detections(notes.boxes, np.linspace(0.9, 0.99, len(notes.ids)), notes.labels, notes.images)


def test_the_area_is_the_mean_precision_of_what_was_planted():
    assert area_under(np.array([True, True, False]), 2) == 1
    assert area_under(np.array([False, True]), 2) == pytest.approx(0.5 / 2)
    assert np.isnan(area_under(np.zeros(3, bool), 0))


def test_faults_that_are_undone_are_the_true_labels_again(true):
    faults = plant(true, fraction=0.05, seed=0)
    mended = undone(faults, true, PLANTED)
    rows = [np.lexsort((*notes.boxes.T, notes.images)) for notes in (mended, true)]
    for column in ("boxes", "labels", "images"):
        assert np.array_equal(getattr(mended, column)[rows[0]], getattr(true, column)[rows[1]])
    only = undone(faults, true, ["spurious"])
    assert len(only.ids) == len(faults.annotations.ids) - (faults.kind == "spurious").sum()


def test_a_set_is_measured_and_written(scenes, tmp_path, monkeypatch, capsys):
    true, folder = scenes.annotations, tmp_path / "sets" / "shapes"
    for name, pixels in zip(true.file_names, scenes.pixels, strict=True):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "images" / name)
    write_coco(true, folder / "train.json")
    monkeypatch.setattr(label_audit, "_detections", lambda notes, *rest, **names: (perfect(true), 0.0))
    out = tmp_path / "out"
    assert main(["bench", "audit", "--data", str(folder.parent), "--sets", "shapes", "--out", str(out)]) == 0
    (audit,) = json.loads((out / "label_audit.json").read_text())
    assert audit["ap"] == pytest.approx(1)
    assert audit["planted"] == round(0.05 * len(true.ids))
    for kind in (WITHOUT, *PLANTED, "image"):
        assert audit["area"][kind] > 0.75, kind
    assert set(audit["detector"]) == set(PLANTED)
    assert audit["looking"] > 0
    assert audit["predicted"]["all"] == pytest.approx(audit["measured"]["all"], abs=0.05)
    said = capsys.readouterr().out
    assert "area under precision and recall of planted faults" in said
    assert "really mended" in said


def test_another_tools_scores_are_ranked_like_ours(true, tmp_path):
    """A Python that answers with scores that say exactly what was planted has an area of 1."""
    faults, detections = plant(true, fraction=0.05, seed=0), perfect(true)
    gone = np.isin(np.arange(len(true.ids)), faults.removed)
    wrong = np.zeros(len(true), bool)
    wrong[faults.annotations.images[faults.kind != ""]] = True
    wrong[true.images[faults.removed]] = True
    np.savez(
        tmp_path / "answers.npz",
        overlooked=np.where(gone, 0.0, np.nan),
        badly_placed=np.where(faults.kind == "badly_placed", 0.0, 1.0),
        swapped_class=np.where(faults.kind == "swapped_class", 0.0, 1.0),
        image=np.where(wrong, 0.0, 1.0),
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncp "{tmp_path}/answers.npz" "$3"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    areas = cleanlab_areas(python, faults, true, detections)
    assert areas == dict.fromkeys(("badly_placed", "swapped_class", "overlooked", "image"), 1.0)
    python.write_text("#!/bin/sh\necho no cleanlab here >&2\nexit 1\n")
    with pytest.raises(
        ConfigError, match=r"it failed \(no cleanlab here\)\. Expected a Python with cleanlab installed"
    ):
        cleanlab_areas(python, faults, true, detections)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sets", "nowhere"], "no such folder. Expected one for each of the --sets in --data"),
        (["--fraction", "0.5"], "--fraction is 0.5: expected a fraction above 0, up to .2, for each kind"),
        (["--cleanlab", "nowhere/python"], "expected a Python with cleanlab installed"),
        (["--folds", "1"], "--folds"),
        (["--sets", "--resume"], "--resume is given without --out"),
    ],
)
def test_what_is_impossible_is_said_in_one_line(flags, said, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    flags = ["--sets", "set", *flags] if "--sets" not in flags else flags
    assert main(["bench", "audit", "--data", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err
    assert sys.modules.get("cleanlab") is None
