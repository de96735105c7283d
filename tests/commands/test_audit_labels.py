"""`mapopt audit` with a detector: findings with proposals and prices, pictures of them, and a mended copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes, mend, read_sets, write_coco
from mapopt.data.auditing.findings import BY_MODEL
from mapopt.errors import ConfigError
from mapopt.evaluation import Demand, audit_labels

SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder of generated scenes."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "images").mkdir()
    for part, count, seed in (("train", 20, 11), ("val", 12, 12)):
        made = make_shapes(SCENES, seed=seed, count=count)
        write_coco(made.annotations, folder / f"{part}.json")
        for name, pixels in zip(made.annotations.file_names, made.pixels, strict=True):
            path = folder / "images" / name
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return folder


def test_what_a_detector_contradicts_is_listed_priced_drawn_and_mended(shapes, trained, tmp_path, capsys):
    out, fix = tmp_path / "audit", tmp_path / "mended"
    before = {path: path.read_bytes() for path in shapes.rglob("*") if path.is_file()}
    command = ["audit", str(shapes), "--model", str(trained), "--device", "cpu", "--confidence", "0", "--prices", "2"]
    kinds = ["--kinds", *BY_MODEL]
    fixed = ["--fix", str(fix), "--fix-kinds", "overlooked", "--fix-confidence", "0"]
    assert main([*command, *kinds, "--out", str(out), *fixed]) == 3
    said = capsys.readouterr().out
    assert "AP gained" in said
    assert f"Looked at by the detector of {trained}." in said
    document = json.loads((out / "findings.json").read_text())
    assert set(document["counts"]) <= set(BY_MODEL)
    assert document["counts"]["overlooked"] > 0
    first = next(finding for finding in document["findings"] if finding["kind"] == "overlooked")
    assert first["proposal"]["action"] == "add"
    assert first["proposal"]["category"] in first["message"]
    assert 0 <= first["figure"] <= 1
    assert isinstance(first["price"], float)
    expected = [image["expected"] for image in document["images"]]
    assert expected == sorted(expected, reverse=True)
    assert sum(expected) == pytest.approx(sum(finding["figure"] for finding in document["findings"]))
    assert "images with most wrong labels to be expected: " in said
    assert {price["part"] for price in document["prices"]} == {"train", "val"}
    assert all(price["gain"] == pytest.approx(price["after"] - price["before"]) for price in document["prices"])
    assert (out / "overlooked.jpg").is_file()
    assert {path: path.read_bytes() for path in shapes.rglob("*") if path.is_file()} == before
    old, new = read_sets(shapes), read_sets(fix)
    added = sum(len(new[part].ids) - len(old[part].ids) for part in old)
    assert added == document["counts"]["overlooked"]
    assert f"Mended: {added} x objects that a detector sees and nobody labeled." in said


def test_lanes_look_at_what_they_did_not_see(shapes, capsys):
    command = ["audit", str(shapes), "--folds", "2", "--fold-images", "160", "--size", "32", "32", "--device", "cpu"]
    assert main([*command, "--prices", "0", "--kinds", "spurious", "--confidence", "0"]) == 3
    said = capsys.readouterr().out
    assert "Looked at by 2 lanes of the tiny detector at 32 x 32 pixels, each trained on 160 images" in said
    assert "AP gained" not in said


def test_a_kind_is_priced_by_training_with_and_without_it(shapes, trained, capsys, tmp_path):
    command = ["audit", str(shapes), "--model", str(trained), "--device", "cpu", "--confidence", "0", "--prices", "0"]
    flags = ["--kinds", "spurious", "--price-by-training", "2", "--fold-images", "160", "--size", "32", "32"]
    assert main([*command, *flags, "--out", str(tmp_path / "audit")]) == 3
    said = capsys.readouterr().out
    rows = json.loads((tmp_path / "audit" / "findings.json").read_text())["trained_prices"]
    assert [row["kind"] for row in rows] == ["spurious", "all"]
    assert rows[0]["gain"] == rows[1]["gain"], "the same labels, the same seeds, the same bits"
    assert rows[0]["low"] <= rows[0]["gain"] <= rows[0]["high"]
    assert f"trained with {rows[0]['findings']} x spurious mended: val AP" in said


def test_proposals_are_followed_from_the_confidence_on(shapes, trained, tmp_path):
    result = audit_labels(shapes, trained, demand=Demand(confidence=0, prices=0), device="cpu")
    kinds = ("spurious", "swapped_class", "badly_placed", "labeled_twice")
    chosen = [finding for kind in kinds for finding in result.of(kind) if finding.part == "train"]
    mend(result, tmp_path / "mended", kinds=kinds, confidence=0)
    old, new = read_sets(shapes)["train"], read_sets(tmp_path / "mended")["train"]
    gone = [f for f in chosen if f.proposal.action == "remove"]
    assert chosen
    assert len(new.ids) == len(old.ids) - len(gone)
    expected = {}
    for row in range(len(old.ids)):
        expected[row] = (old.file_names[old.images[row]], old.category_names[old.labels[row]], tuple(old.boxes[row]))
    for finding in chosen:
        (row, *_), proposal = finding.objects, finding.proposal
        name, category, box = expected[row]
        if proposal.action == "remove":
            del expected[row]
        else:
            expected[row] = (name, proposal.category or category, proposal.box or box)
    written = [
        (new.file_names[image], new.category_names[label], box)
        for image, label, box in zip(new.images, new.labels, new.boxes, strict=True)
    ]
    for want, have in zip(sorted(expected.values()), sorted((n, c, tuple(b)) for n, c, b in written), strict=True):
        assert want[:2] == have[:2]
        assert np.allclose(np.clip(want[2], 0, 32), have[2], atol=1e-6)
    # Nothing that a detector says is followed unasked, nor below the confidence.
    mend(result, tmp_path / "unasked")
    assert len(read_sets(tmp_path / "unasked")["train"].ids) == len(old.ids)
    mend(result, tmp_path / "sure", kinds=kinds, confidence=0.9)
    sure = [finding for finding in gone if finding.figure >= 0.9]
    assert len(sure) < len(gone)
    assert len(read_sets(tmp_path / "sure")["train"].ids) == len(old.ids) - len(sure)


def test_what_is_impossible_is_said_in_one_line(shapes, trained, tmp_path, refused):
    audit = ("audit", shapes)
    assert "'overlooked' is found by detectors alone: give mapopt audit a --model or --folds" in refused(
        *audit, "--kinds", "overlooked"
    )
    assert "both --model and --folds are given" in refused(*audit, "--model", trained, "--folds", 2)
    assert "--size is given without --model or --folds" in refused(*audit, "--size", 32, 32)
    assert "--size is given with --model" in refused(*audit, "--model", trained, "--size", 32, 32)
    assert "--fold-images is given without --model or --folds" in refused(*audit, "--fold-images", 640)
    assert "--fold-images is given with --model" in refused(*audit, "--model", trained, "--fold-images", 640)
    assert "--price-by-training is given without --model or --folds" in refused(*audit, "--price-by-training", 2)
    assert "training_seeds is -1" in refused(*audit, "--folds", 2, "--price-by-training", -1)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "images").symlink_to(shapes / "images")
    (tmp_path / "whole" / "all.json").write_text((shapes / "train.json").read_text())
    assert "there is no train set, but the price by training is of lanes" in refused(
        "audit", tmp_path / "whole" / "all.json", "--folds", 2, "--price-by-training", 1
    )
    assert "--detector is given with --folds" in refused(*audit, "--folds", 2, "--detector", "a:b")
    assert "--look is False, but detectors have to look" in refused(*audit, "--folds", 2, "--look", "False")
    assert "confidence is 2.0: expected 0 to 1" in refused(*audit, "--folds", 2, "--confidence", 2)
    assert "folds is 1" in refused(*audit, "--folds", 1)
    assert "no such" in refused(*audit, "--model", tmp_path / "nowhere")
    assert "'empty' needs a person" in refused(*audit, "--fix", tmp_path / "x", "--fix-kinds", "empty")
    assert "did you mean 'spurious'" in refused(*audit, "--fix", tmp_path / "x", "--fix-kinds", "spurius")
    assert "kinds is empty, which is found without a detector" in refused(*audit, "--folds", 2, "--kinds", "empty")
    assert "different images, which cannot be divided into 40 folds" in refused(*audit, "--folds", 40, "--size", 32, 32)


def test_unknown_kinds_are_refused(shapes, trained):
    with pytest.raises(ConfigError, match="unknown kind of finding 'spurius': did you mean 'spurious'"):
        audit_labels(shapes, trained, demand=Demand(kinds=("spurius",)))


def test_a_confidence_of_mending_out_of_range_is_refused(shapes, trained, tmp_path):
    result = audit_labels(shapes, trained, demand=Demand(prices=0), device="cpu")
    with pytest.raises(ConfigError, match="confidence is 2: expected 0 to 1"):
        mend(result, tmp_path / "mended", kinds=["spurious"], confidence=2)
