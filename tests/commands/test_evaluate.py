"""`mapopt evaluate`: the numbers a run reported, pycocotools' own lines, and what is refused."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mapopt.cli import main
from mapopt.commands.evaluate import FIGURES
from mapopt.data import ShapesConfig, make_shapes_splits, write_coco
from mapopt.data.files import read_json
from mapopt.metrics import STATS

Refused = Callable[..., str]
SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))
QUICK = ["--figures", "False", "--resamples", "0"]
"""Flags that leave out what most tests do not look at."""


def by_name(report: dict) -> dict[str, float]:
    """Returns each category's AP in a report as results of a run have it: -1 where undefined."""
    return {row["name"]: -1.0 if row["ap"] is None else row["ap"] for row in report["categories"]}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test split of the trained run's scenes, as a COCO file."""
    path = tmp_path_factory.mktemp("truth") / "test.json"
    write_coco(make_shapes_splits(SCENES, seed=0, train=16, val=8, test=8).test.annotations, path)
    return path


@pytest.fixture(scope="module")
def results(truth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fair detector says of these scenes: most objects, a little beside, some as another category."""
    generator, notes = np.random.default_rng(4), json.loads(truth.read_text())["annotations"]
    entries = []
    for note in notes:
        left, top, width, height = note["bbox"]
        label = note["category_id"] if generator.random() < 0.8 else notes[0]["category_id"]
        if generator.random() < 0.9:
            box = [left + generator.normal(0, 0.7), top + generator.normal(0, 0.7), width, height]
            score = round(generator.random(), 3)
            entries.append({"image_id": note["image_id"], "category_id": label, "bbox": box, "score": score})
    path = tmp_path_factory.mktemp("results") / "results.json"
    path.write_text(json.dumps(entries))
    return path


def oracle(truth: Path, results: Path) -> tuple[np.ndarray, list[str]]:
    """Returns pycocotools' twelve numbers and the lines it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(str(truth))
        evaluator = COCOeval(annotations, annotations.loadRes(str(results)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    with contextlib.redirect_stdout(printed):
        evaluator.summarize()
    return evaluator.stats, printed.getvalue().splitlines()


def test_the_lines_are_pycocotools_own(
    trained: Path, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--checkpoint", str(trained / "best.pt"), "--device", "cpu", "--figures", "False"]
    main([*command, "--out", str(tmp_path)])
    first = capsys.readouterr().out.splitlines()
    stats, lines = oracle(truth, tmp_path / "results.json")
    assert lines == first[1:13]
    report = json.loads((tmp_path / "report.json").read_text())
    stored = [-1 if report[name] is None else report[name] for name in STATS]
    assert stored == pytest.approx(stats.tolist(), abs=1e-12)
    assert main(["evaluate", "--truth", str(truth), "--results", str(tmp_path / "results.json")]) == 0
    # The last lines say where the report is.
    assert capsys.readouterr().out.splitlines()[1:] == first[1:-2]


@pytest.mark.parametrize("backend", ["numpy", "pycocotools"])
def test_each_backend_says_the_same(
    trained: Path, truth: Path, results: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--truth", str(truth), "--results", str(results), "--resamples", "0"]
    assert main([*command, "--backend", backend]) == 0
    first = capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out == first


def test_a_table_names_each_category(truth: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--truth", str(truth), "--results", str(results), "--resamples", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith(" category"))
    assert lines[head].split()[:4] == ["category", "objects", "AP", "AP50"]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["disc", "box", "triangle"]
    assert len({len(line.split()) for line in lines[head : head + 4]}) == 1


def test_the_real_results_of_the_oracle_are_its_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "coco_val2014"
    if not folder.is_dir():
        pytest.skip("../shared/data/coco_val2014 is absent")
    truth, results = folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"
    assert main(["evaluate", "--truth", str(truth), "--results", str(results), "--out", str(tmp_path), *QUICK]) == 0
    expected = json.loads((folder / "pycocotools_stats.json").read_text())["bbox"]["stats"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert [report[name] for name in STATS] == expected
    assert len(report["categories"]) == 80


def test_what_contradicts_itself_is_refused(trained: Path, tmp_path: Path, refused: Refused) -> None:
    best = trained / "best.pt"
    assert refused("evaluate") == "nothing to evaluate: give --checkpoint, or both --truth and --results"
    assert refused("evaluate", "--truth", "a.json").startswith("nothing to evaluate")
    assert refused("evaluate", "--checkpoint", best, "--truth", "a.json").startswith("both --checkpoint and --truth")
    said = refused("evaluate", "--truth", "a.json", "--results", "b.json", "--split", "val")
    assert said == "--split is given, but it says nothing about --truth and --results: leave it out"
    said = refused("evaluate", "--checkpoint", best, "--data", "shapes", "--scenes.size", 48)
    assert said == "images of 32 x 32 pixels, but the scenes are drawn 48 x 48: give --scenes.size 32"
    said = refused("evaluate", "--checkpoint", best, "--scenes.noise", 0.2)
    assert said == "--scenes is given without data: add --data shapes"
    assert "no such file; expected a checkpoint" in refused("evaluate", "--checkpoint", tmp_path / "none.pt")
    assert "holds" not in refused("evaluate", "--checkpoint", best, "--out", trained)
    assert "is not empty. Give --overwrite to replace it" in refused("evaluate", "--checkpoint", best, "--out", trained)


def test_a_report_has_everything_and_no_number_that_json_lacks(truth: Path, results: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--truth", str(truth), "--results", str(results), "--resamples", "50"]
    assert main([*command, "--out", str(tmp_path), "--compare", str(results)]) == 0
    text = (tmp_path / "report.json").read_text()
    assert not re.search("NaN|Infinity", text)
    report = json.loads(text)
    low, high = report["intervals"]["ap"]
    assert 0 <= low < high <= 1
    assert report["voc"]["2010_area"] > 0
    assert report["mean_optimal_lrp"] == pytest.approx(
        np.mean([row["optimal_lrp"]["lrp"] for row in report["categories"]])
    )
    assert report["causes"]["false_negative"]["count"] >= report["causes"]["missed"]["count"] > 0
    assert np.sum(report["confusion"]["counts"]) >= report["objects"]
    comparison = report["comparison"]
    assert comparison["ap"] == {"ours": report["ap"], "other": report["ap"], "difference": 0.0, "interval": [0, 0]}
    assert (comparison["fraction_better"], comparison["fraction_worse"]) == (0, 0)
    assert {path.name for path in tmp_path.glob("*.png")} == {f"{name}.png" for name in FIGURES}


def test_a_detector_that_finds_more_is_better_in_all_resamples(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = [{**entry, "bbox": [0, 0, 3, 3]} if n % 2 else entry for n, entry in enumerate(read_json(results))]
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    command = ["evaluate", "--truth", str(truth), "--results", str(results), "--resamples", "60", "--figures", "False"]
    assert main([*command, "--compare", str(tmp_path / "worse.json"), "--out", str(tmp_path / "out")]) == 0
    comparison = json.loads((tmp_path / "out" / "report.json").read_text())["comparison"]
    assert comparison["fraction_better"] == 1
    assert 0 < comparison["ap"]["interval"][0] < comparison["ap"]["difference"]
    assert comparison["causes"]["missed"]["count"] < 0
    assert "AP is better in 100.0% of the resamples, worse in 0.0%" in capsys.readouterr().out


def test_another_ones_results_in_the_folder_are_not_removed(truth: Path, results: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results.read_text())
    command = ["evaluate", "--truth", str(truth), "--results", str(tmp_path / "results.json"), *QUICK]
    assert main([*command, "--out", str(tmp_path), "--overwrite"]) == 0
    assert (tmp_path / "results.json").read_text() == results.read_text()


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    truth: Path, results: Path, tmp_path: Path, refused: Refused
) -> None:
    command = ["evaluate", "--truth", truth, "--results", results, "--out", tmp_path / "out"]
    assert refused(*command, "--iou", 1).startswith("iou is 1.0: expected a number above 0.1 and below 1")
    assert refused(*command, "--resamples", -1).startswith("resamples is -1: expected a number such as 1000, or 0")
    assert refused(*command, "--seed", -1).startswith("seed is -1: expected a whole number from 0")
    assert refused(*command, "--backend", "numpi").startswith("--backend is 'numpi': expected auto, numpy, numba or")
    assert refused(*command, "--compare", tmp_path / "no.json").startswith(f"{tmp_path / 'no.json'}: no such file.")
    assert refused(*command, "--compare", tmp_path).startswith(f"{tmp_path}: is a folder; expected a text file")
    assert refused("evaluate", "--truth", results, "--results", truth).startswith(f"{results}: is a list, as files of")
    assert refused("evaluate", "--truth", truth, "--results", truth).startswith(
        f"{truth}: is COCO annotations; expected"
    )
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_figures_are_drawn_leaves_nothing(
    truth: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mapopt.drawing.evaluation_figures.draw_evaluation", interrupt)
    command = ["evaluate", "--truth", str(truth), "--results", str(results), "--resamples", "0"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "\nmapopt evaluate: interrupted. Nothing was kept.\n"
    assert not (tmp_path / "out").exists()


def test_other_limits_on_detections_give_pycocotools_numbers(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--truth", str(truth), "--results", str(results), *QUICK, "--out", str(tmp_path)]
    assert main([*command, "--max-detections", "1", "2", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:13]
    annotations = COCO(str(truth))
    evaluator = COCOeval(annotations, annotations.loadRes(str(results)), "bbox")
    evaluator.params.maxDets = [1, 2, 1000]
    evaluator.evaluate()
    evaluator.accumulate()
    recall = evaluator.eval["recall"][:, :, 0, :]
    assert [line.rsplit("maxDets=", 1)[1].split(" ]")[0].strip() for line in lines[:9]] == [
        *["1000"] * 6,
        "1",
        "2",
        "1000",
    ]
    for place, line in enumerate(lines[6:9]):
        measured = recall[:, :, place]
        assert float(line.rsplit("=", 1)[1]) == pytest.approx(measured[measured > -1].mean(), abs=0.0006)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["max_detections"] == [1, 2, 1000]
    assert list(report["average_recall"]) == ["1", "2", "1000"]
    assert report["ar100"] is None


def test_all_categories_can_be_taken_for_one(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--truth", str(truth), "--results", str(results), "--use-categories", "False"]
    assert main([*command, *QUICK, "--compare", str(results)]) == 0
    printed = capsys.readouterr().out.splitlines()
    annotations = COCO(str(truth))
    evaluator = COCOeval(annotations, annotations.loadRes(str(results)), "bbox")
    evaluator.params.useCats = 0
    evaluator.evaluate()
    evaluator.accumulate()
    capsys.readouterr()
    evaluator.summarize()
    assert printed[1:13] == capsys.readouterr().out.splitlines()
    assert any(line.startswith(" any category ") for line in printed)


def test_the_worst_images_are_listed_and_drawn(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--truth", str(truth), "--results", str(results), *QUICK, "--worst", "2"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    assert " The images that cost most AP: " in capsys.readouterr().out
    worst = json.loads((tmp_path / "a" / "report.json").read_text())["worst_images"]
    assert worst[0]["cost"] >= worst[-1]["cost"] > 0
    names = {path.name for path in (tmp_path / "a" / "worst").iterdir()}
    assert names == {f"{n:03d}-{Path(image['file_name']).stem}.jpg" for n, image in enumerate(worst, start=1)}
    # What is left out without them is better.
    notes, entries = json.loads(truth.read_text()), json.loads(results.read_text())
    out = worst[0]["id"]
    notes["images"] = [image for image in notes["images"] if image["id"] != out]
    notes["annotations"] = [note for note in notes["annotations"] if note["image_id"] != out]
    (tmp_path / "truth.json").write_text(json.dumps(notes))
    (tmp_path / "results.json").write_text(json.dumps([entry for entry in entries if entry["image_id"] != out]))
    command = ["evaluate", "--truth", tmp_path / "truth.json", "--results", tmp_path / "results.json", *QUICK]
    assert main([str(word) for word in [*command, "--out", tmp_path / "b"]]) == 0
    before, after = (json.loads((tmp_path / name / "report.json").read_text())["ap"] for name in "ab")
    assert after - before == pytest.approx(worst[0]["cost"], abs=1e-9)
