"""Settings are scored as post-processing and the metrics score them, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.envs.post_processing.candidates import DetectorCandidates
from mapopt.envs.post_processing.synthetic import SIDE, SyntheticCandidates
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, evaluate, f1_and_lrp
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.candidates import CandidateSet
from mapopt.postprocessing.scorer import PostProcessingScore, Scorer
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.postprocessing.suppression import suppress
from mapopt.training.fleet import Trainer
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


def reported(candidates: CandidateSet, setting: PostProcessingSettings) -> Detections:
    """What the detectors' own post-processing reports of candidates whose two sorts of pixels are the same."""
    order = np.lexsort((-candidates.scores, candidates.labels, candidates.images))
    rows = [torch.from_numpy(getattr(candidates, name)[order]) for name in ("boxes", "scores", "labels", "images")]
    boxes, scores, labels, images = rows
    unlimited = min(setting.class_detections) == 300
    result = suppress(
        Boxes(boxes, scores, labels, torch.zeros_like(labels), images),
        torch.tensor([setting.score_thresholds], dtype=torch.float32),
        torch.tensor([setting.nms_iou], dtype=torch.float32),
        soft_nms_sigma=torch.tensor([setting.soft_nms_sigma], dtype=torch.float32),
        detections=torch.tensor([float(setting.detections) if unlimited else torch.inf]),
        side=int(SIDE),
    )
    if not unlimited:
        kept, of_image, of_class = [], Counter[int](), Counter[tuple[int, int]]()
        for place, (image, label) in enumerate(zip(result.images.tolist(), result.labels.tolist(), strict=True)):
            if of_class[image, label] < setting.class_detections[label] and of_image[image] < setting.detections:
                kept.append(place)
                of_image[image] += 1
            of_class[image, label] += 1
        result = result.at(torch.tensor(kept, dtype=torch.int64))
    # Where a threshold of a class is above 0, the candidates under it are not there to begin with.
    return Detections(result.boxes.double(), result.scores.double(), result.labels, result.images)


def above(candidates: CandidateSet, setting: PostProcessingSettings) -> CandidateSet:
    kept = candidates.scores >= np.array(setting.score_thresholds, np.float32)[candidates.labels]
    columns = {name: getattr(candidates, name)[kept] for name in ("boxes", "placed", "scores", "labels", "images")}
    return replace(candidates, **columns)


def draw_setting(generator: np.random.Generator, classes: int) -> PostProcessingSettings:
    return PostProcessingSettings(
        nms_iou=float(generator.uniform(0.1, 0.95)),
        soft_nms_sigma=float(generator.choice([0.0, generator.uniform(0.0, 1.0), generator.uniform(0.0, 0.1)])),
        detections=int(np.exp(generator.uniform(0.0, np.log(300)))),
        score_thresholds=tuple(generator.choice([0.0, 1.0], classes) * generator.uniform(0.0, 0.8, classes)),
        class_detections=(300,) * classes
        if generator.integers(2)
        else tuple(np.exp(generator.uniform(0.0, np.log(20), classes)).astype(int).tolist()),
    )


def check(candidates: CandidateSet, setting: PostProcessingSettings, score: PostProcessingScore) -> None:
    lane = reported(above(candidates, setting), setting)
    report = evaluate(candidates.truth, lane, mode="reward")
    points = f1_and_lrp(candidates.truth, lane)
    assert (score.ap, score.f1, score.lrp) == (report.ap, points.f1, points.lrp), setting
    for k, ap in report.per_category.items():
        assert score.class_ap[k] == pytest.approx(max(ap, 0.0), abs=1e-12)


def plain(candidates: CandidateSet) -> CandidateSet:
    return candidates


def tied(candidates: CandidateSet) -> CandidateSet:
    """Whole pixels and few different scores: many overlaps, scores and boxes are equal."""
    boxes = np.round(candidates.boxes / 8) * 8
    scores = np.round(candidates.scores, 1)
    order = np.lexsort((-scores, candidates.labels, candidates.images))
    truth = candidates.truth
    return CandidateSet(
        boxes=boxes[order],
        placed=boxes[order].astype(np.float64),
        scores=scores[order],
        labels=candidates.labels[order],
        images=candidates.images[order],
        truth=GroundTruth(
            np.round(truth.boxes / 8) * 8,
            truth.labels,
            truth.image_ids,
            images=truth.images,
            categories=truth.categories,
        ),
    )


def crowded(candidates: CandidateSet) -> CandidateSet:
    """Some objects are crowds, and of the last class there are only crowds."""
    truth = candidates.truth
    crowd = (np.arange(len(truth)) % 4 == 1) | (truth.labels == candidates.classes - 1)
    return replace(
        candidates,
        truth=GroundTruth(
            truth.boxes, truth.labels, truth.image_ids, crowd=crowd, images=truth.images, categories=truth.categories
        ),
    )


def lopsided(candidates: CandidateSet) -> CandidateSet:
    """All in one image, a class without a candidate, and one with more than are evaluated."""
    kept = candidates.labels > 0
    columns = {name: getattr(candidates, name)[kept] for name in ("boxes", "placed", "scores", "labels")}
    truth = candidates.truth
    moved = GroundTruth(
        truth.boxes, truth.labels, truth.image_ids // 50, images=truth.images, categories=truth.categories
    )
    return replace(candidates, **columns, images=candidates.images[kept] // 50, truth=moved)


@pytest.mark.parametrize("change", [plain, tied, crowded, lopsided])
@pytest.mark.parametrize("number", [0, 1])
def test_every_number_is_that_of_post_processing_and_the_metrics(
    number: int, change: Callable[[CandidateSet], CandidateSet]
) -> None:
    candidates = change(SyntheticCandidates(split="eval").instance(number).val)
    scorer, generator = Scorer(candidates), np.random.default_rng(number)
    check(
        candidates,
        PostProcessingSettings.of(Knobs(), candidates.classes),
        scorer.score(PostProcessingSettings.of(Knobs(), candidates.classes)),
    )
    for turn in range(40):
        setting = draw_setting(generator, candidates.classes)
        if turn % 2:  # numbers that overlaps and scores may equal
            thresholds = tuple(round(threshold, 1) for threshold in setting.score_thresholds)
            setting = replace(setting, nms_iou=0.5, score_thresholds=thresholds)
        check(candidates, setting, scorer.score(setting))


def test_counts_are_those_of_what_is_reported() -> None:
    candidates = SyntheticCandidates().instance(2).val
    scorer, generator = Scorer(candidates), np.random.default_rng(0)
    for _ in range(20):
        setting = draw_setting(generator, 3)
        score, lane = scorer.score(setting), reported(above(candidates, setting), setting)
        assert score.reported.tolist() == np.bincount(lane.labels, minlength=3).tolist()
        hits = score.recall * scorer.positives
        assert score.precision == pytest.approx(hits / np.maximum(score.reported, 1))
        assert score.class_f1 == pytest.approx(2 * hits / (score.reported + scorer.positives))


def test_a_trained_detector_is_scored_as_its_trainer_evaluates_it() -> None:
    splits = make_shapes_splits(ShapesConfig(), seed=1, train=64, val=16, test=16)
    trainer = Trainer(Task(name="small", splits=splits, recipe=Recipe(ema=0.9), knobs=Knobs(score_threshold=0.1)), 0)
    trainer.train(1600)
    candidates = DetectorCandidates.from_trainer(trainer).instance(0)
    scorers = {"val": Scorer(candidates.val), "test": Scorer(candidates.test)}
    generator = np.random.default_rng(0)
    values = []
    for _ in range(12):
        names = ("nms_iou", "soft_nms_sigma", "score_threshold", "detections")
        drawn = {name: ranges()[name].from_unit(generator.uniform(-1, 1)) for name in names}
        knobs = Knobs(**{**drawn, "soft_nms_sigma": drawn["soft_nms_sigma"] * generator.integers(2)})
        knobs = knobs.replace(score_threshold=knobs.score_threshold / 4)
        trainer.set_knobs(knobs)
        for split, scorer in scorers.items():
            score = scorer.score(PostProcessingSettings.of(knobs, 3))
            assert score.ap == trainer.evaluate(split).ap  # type: ignore[arg-type]
            truth = getattr(candidates, split).truth
            points = f1_and_lrp(truth, trainer.detect(split))  # type: ignore[arg-type]
            assert (score.f1, score.lrp) == (points.f1, points.lrp)
            values.append(score.ap)
    assert max(values) > 0.02
    assert len(set(values)) > 12


def test_scores_at_count_from_the_best() -> None:
    candidates = SyntheticCandidates().instance(0).val
    scorer = Scorer(candidates)
    values = scorer.scores_at((0.5, 1.0, 1000.0))
    for k in range(3):
        falling = np.sort(candidates.scores[candidates.labels == k])[::-1]
        true = int((candidates.truth.labels == k).sum())
        assert values[k].tolist() == [falling[-(-true // 2) - 1], falling[true - 1], 0.0]


def test_a_setting_for_other_classes_is_refused() -> None:
    scorer = Scorer(SyntheticCandidates().instance(0).val)
    with pytest.raises(ConfigError, match="2 score thresholds were given for 3 classes: give each one"):
        scorer.score(PostProcessingSettings.of(Knobs(), 2))
    with pytest.raises(ConfigError, match="1 limits were given for 3 classes: give each one"):
        scorer.score(replace(PostProcessingSettings.of(Knobs(), 3), class_detections=(5,)))


def test_without_numba_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapopt.postprocessing.scorer.load_kernels", lambda module: None)
    monkeypatch.setattr("mapopt.postprocessing.scorer.why_missing", lambda module: "no numba here")
    with pytest.raises(ConfigError, match=r"compiled code, which cannot be loaded \(no numba here\)"):
        Scorer(SyntheticCandidates().instance(0).val)
