"""What the rounds of a run say, with numbers of their own in place of a training that takes minutes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import mapopt
from mapopt.cli import main
from mapopt.data import Splits
from mapopt.metrics import Detections
from mapopt.training import Budget
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.choices import check_budget
from mapopt.training.diagnosis.diagnose import diagnose_case
from mapopt.training.diagnosis.reading import make_case
from mapopt.training.first_words import describe_objects, is_due
from mapopt.training.settings import TrainSettings

from ..conftest import SHARED


def with_numbers(case: Case, losses: Sequence[float], aps: Sequence[float], **interval: float) -> Case:
    """Returns a run with other losses and APs, round by round."""
    history = tuple(
        dataclasses.replace(
            played,
            interval=dataclasses.replace(played.interval, class_loss=loss, box_loss=0.0, **interval),
            val=dataclasses.replace(played.val, ap=ap),
        )
        for played, loss, ap in zip(case.history, losses, aps, strict=True)
    )
    return dataclasses.replace(case, history=history, detector=None, last=None, _candidates={})


FALLING = np.linspace(1.0, 0.2, 20).tolist()
RISING = np.linspace(0.1, 0.4, 20).tolist()


def kinds(case: Case) -> list[str]:
    return [finding.kind for finding in diagnose_case(case).findings]


def test_a_run_that_goes_well_has_no_finding(healthy: Case) -> None:
    assert kinds(with_numbers(healthy, FALLING, RISING)) == []


def test_ap_that_stalls_while_the_loss_falls_is_named_with_its_worst_class(healthy: Case) -> None:
    stalled = with_numbers(healthy, FALLING, [*RISING[:8], *[0.2] * 12])
    diagnosis = diagnose_case(stalled)
    assert diagnosis.findings[0].kind == "stalled"
    assert "over the last 6 rounds the loss fell by" in diagnosis.findings[0].message
    assert "lowest for '" in diagnosis.findings[0].message
    with_detector = dataclasses.replace(stalled, detector=healthy.detector)
    (said,) = [figure.message for figure in diagnose_case(with_detector).figures if figure.kind == "stalled"]
    assert "location mistakes cost" in said


def test_ap_that_is_lost_again_is_named(healthy: Case) -> None:
    assert kinds(with_numbers(healthy, FALLING, [*RISING[:14], *[0.05] * 6]))[0] == "collapsed"


def test_a_run_that_diverged_is_named_first(healthy: Case) -> None:
    last = healthy.history[-1]
    lost = dataclasses.replace(last, interval=dataclasses.replace(last.interval, diverged=True))
    case = dataclasses.replace(healthy, history=(*healthy.history[:-1], lost), status="diverged")
    finding = diagnose_case(case).findings[0]
    assert finding.kind == "diverged"
    assert "not finite in round 20" in finding.message


def test_a_run_that_patience_stopped_in_its_first_half_is_named(healthy: Case) -> None:
    case = dataclasses.replace(
        with_numbers(healthy, FALLING, RISING), status="stopped", reason="no better val AP in 2 rounds"
    )
    half = dataclasses.replace(case, history=case.history[:6])
    finding = diagnose_case(half).findings[0]
    assert finding.kind == "stopped_early"
    assert "stopped after 30% of the budget (no better val AP in 2 rounds)" in finding.message
    assert kinds(case) == []


def test_short_steps_are_no_finding_where_the_loss_falls(healthy: Case) -> None:
    flat = [1.0] * 20
    assert kinds(with_numbers(healthy, flat, RISING, update_ratio=1e-5)) == ["rate_too_low"]
    assert kinds(with_numbers(healthy, FALLING, RISING, update_ratio=1e-5)) == []


def with_detections(case: Case, monkeypatch: pytest.MonkeyPatch, scale: float) -> Case:
    """Lets a run detect its objects with boxes that are so many times as large."""

    def detect(self: Case, split: str, **changes: object) -> Detections:
        truth = self.truth(split)  # type: ignore[arg-type]
        middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
        half = (truth.boxes[:, 2:] - truth.boxes[:, :2]) / 2 * scale
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        return Detections(boxes, np.linspace(1, 0.5, len(boxes)), truth.labels, truth.image_ids)

    monkeypatch.setattr(Case, "detections", detect)
    return case


def test_boxes_that_explode_are_named(healthy: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = diagnose_case(with_detections(healthy, monkeypatch, 12.0), ["explosion"])
    assert diagnosis.findings[0].kind == "exploded"
    assert "best-scored boxes have more than 4 times the area of the largest object" in diagnosis.findings[0].message


def test_loose_boxes_are_named_and_so_are_the_two_metrics(healthy: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = diagnose_case(with_detections(healthy, monkeypatch, 1.25), ["causes"])
    assert [finding.kind for finding in diagnosis.findings] == ["loose_boxes", "metric"]
    assert "boxes are loose: AP50 is 1.000 and AP75 0.000" in diagnosis.findings[0].message
    tight = diagnose_case(with_detections(healthy, monkeypatch, 1.0), ["causes"])
    assert not tight.findings


def test_a_reason_is_due_once_and_only_near_0(healthy: Case) -> None:
    history, budget = healthy.history, healthy.budget
    nothing = [dataclasses.replace(played, val=dataclasses.replace(played.val, ap=0.001)) for played in history]
    assert [is_due(nothing[:count], budget) for count in (0, 1, 2, 3, 20)] == [False, False, True, False, False]
    assert not is_due(with_numbers(healthy, FALLING, RISING).history[:2], budget)


def test_a_run_that_learns_slowly_says_that_no_mistake_was_found(
    splits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    mapopt.train(splits, images=2560, rounds=20, device="cpu", progress=True)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("val AP is ")]
    assert "after 10% of the budget: no mistake was found in settings, images and boxes, and the loss went" in said


def test_of_many_classes_the_frequent_and_the_rarest_are_named(splits: Splits) -> None:
    notes = splits.train.annotations
    names = tuple(f"class {place}" for place in range(30))
    many = dataclasses.replace(
        notes, category_names=names, category_ids=np.arange(30), labels=np.minimum(notes.labels * 11, 29)
    )
    said = _described(dataclasses.replace(splits.train, annotations=many))
    assert said.startswith("objects in train / val / test: class ")
    assert "15 more, the rarest class " in said


def _described(images: object) -> str:
    class Sets:
        train = images

        def named(self) -> tuple[tuple[str, object], ...]:
            return ("train", images), ("val", images), ("test", images)

    return describe_objects(Sets())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"), [("bccd", (96, 128)), ("aquarium", (128, 128)), ("hemocytometer", (192, 256))]
)
def test_settings_and_images_of_healthy_runs_raise_no_alarm(name: str, size: tuple[int, int]) -> None:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    case = make_case(TrainSettings(data=str(folder), size=size), look=False)
    assert diagnose_case(case).alarms == ()


def test_an_evaluation_without_boxes_says_that_the_threshold_cut_them_off(
    splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "8", "8", "8"]
    options = ["--images", "64", "--rounds", "2", "--device", "cpu", "--recipe.loss", "ap"]
    threshold = ["--knobs.score-threshold", "0.9"]
    assert main(["train", *small, *options, *threshold, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", str(tmp_path), "--resamples", "0"]) == 0
    assert "no box scores 0.9, the run's --knobs.score-threshold, so that AP is 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "batch", "change"),
    [
        (1280, 16, "--images 6400"),  # 3 images a step are none to advise
        (1600, 16, "--recipe.batch-size 4, or --images 6400"),
        (1600, 4, "nothing"),
    ],
)
def test_a_batch_that_is_advised_is_smaller_and_not_tiny(healthy: Case, images: int, batch: int, change: str) -> None:
    recipe = dataclasses.replace(healthy.recipe, batch_size=batch)
    case = dataclasses.replace(healthy, recipe=recipe, budget=Budget(images=images, rounds=1))
    (steps,) = [each for each in check_budget(case) if each.kind == "few_steps"]
    assert (steps.change if steps.counts else "nothing") == change
