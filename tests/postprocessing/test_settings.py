"""Settings that were chosen on kept candidates report on a detector what was scored."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.envs.post_processing.actions import SettingSpace
from mapopt.envs.post_processing.candidates import DetectorCandidates
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.errors import ConfigError
from mapopt.metrics import evaluate, f1_and_lrp
from mapopt.postprocessing.scorer import Scorer
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.device_set import DeviceSet
from mapopt.training.fleet import Trainer
from mapopt.training.inference import LoadedDetector
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

SPLITS = make_shapes_splits(ShapesConfig(), seed=1, train=64, val=16, test=16)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that has learnt a little."""
    trainer = Trainer(Task(name="small", splits=SPLITS, recipe=Recipe(ema=0.9), knobs=Knobs()), 0)
    trainer.train(1600)
    path = tmp_path_factory.mktemp("trained") / "run" / "checkpoint.pt"
    path.parent.mkdir()
    Checkpoint(
        snapshot=trainer.snapshot(),
        recipe=trainer.task.recipe,
        categories=SPLITS.train.annotations.category_names,
        size=SPLITS.train.size,
        history=(),
        settings={},
    ).save(path)
    return path


def drawn(generator: np.random.Generator) -> PostProcessingSettings:
    space = SettingSpace(3)
    units = generator.uniform(-1, 1, len(space))
    units[1] = -1 if generator.integers(2) else units[1]
    units[3:6] = units[3:6] / 4 - 0.75
    return space.move(space.default, space.default_units, units)


def test_a_setting_of_every_class_reports_on_a_detector_what_was_scored(checkpoint: Path) -> None:
    detector = LoadedDetector(checkpoint, torch.device("cpu"))
    kept = DetectorCandidates.from_checkpoint(checkpoint, val=SPLITS.val, test=SPLITS.test).instance(0)
    generator, aps, counts = np.random.default_rng(0), set(), set()
    for _ in range(8):
        setting = drawn(generator)
        for split, images in (("val", SPLITS.val), ("test", SPLITS.test)):
            detections = detector.detect(images, setting)
            truth = DeviceSet(images, torch.device("cpu")).truth
            score, points = Scorer(getattr(kept, split)).score(setting), f1_and_lrp(truth, detections)
            assert score.ap == evaluate(truth, detections).ap
            assert (score.f1, score.lrp) == (points.f1, points.lrp)
            assert score.reported.sum() == len(detections)
            aps.add(score.ap)
            counts.add(len(detections))
    assert max(aps) > 0.02
    assert min(len(aps), len(counts)) > 4


def test_knobs_are_the_setting_that_is_the_same_for_every_class(checkpoint: Path) -> None:
    detector = LoadedDetector(checkpoint, torch.device("cpu"))
    detections = detector.detect(SPLITS.val, PostProcessingSettings.of(Recipe().settle(Knobs()), 3))
    expected = detector.detect(SPLITS.val)
    for name in ("boxes", "scores", "labels", "image_ids"):
        assert np.array_equal(getattr(detections, name), getattr(expected, name))


def test_the_example_of_the_page_deploys_what_an_agent_found(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = inspect.getdoc(PostProcessingEnv) or ""
    example = re.search(r"### Deployment.*?::\n\n(.*?)\n\n###", page, flags=re.DOTALL)
    assert example
    monkeypatch.chdir(checkpoint.parent.parent)
    env = PostProcessingEnv(
        DetectorCandidates.from_checkpoint(checkpoint, val=SPLITS.val, test=SPLITS.test), reward="f1", length=1
    )
    env.reset(seed=0)
    info = env.step(np.float32([0.1, -1, 0, -0.9, -0.8, -0.7, 0.5, 0, 1]))[-1]
    names = {"info": info, "images": SPLITS.test, **globals()}
    exec(inspect.cleandoc(example[1]), names)
    truth = DeviceSet(SPLITS.test, torch.device("cpu")).truth
    assert f1_and_lrp(truth, names["detections"]).f1 == info["test_f1"]


def test_a_dictionary_holds_all_of_a_setting() -> None:
    generator = np.random.default_rng(1)
    for _ in range(5):
        setting = drawn(generator)
        assert PostProcessingSettings.from_dict(setting.as_dict()) == setting
    values = setting.as_dict()
    for wrong in ({}, values | {"lr": 1.0}, {name: 0.5 for name in values if name != "detections_1"}):
        with pytest.raises(ConfigError, match=r"settings with .*: expected nms_iou, .*, as info\['knobs'\] has them"):
            PostProcessingSettings.from_dict(wrong)


def test_a_setting_for_other_classes_is_refused(checkpoint: Path) -> None:
    detector = LoadedDetector(checkpoint, torch.device("cpu"))
    with pytest.raises(ConfigError, match="2 score thresholds were given for 3 classes"):
        detector.detect(SPLITS.val, PostProcessingSettings.of(Knobs(), 2))
    with pytest.raises(ConfigError, match="2 limits were given for 3 classes"):
        detector.detect(SPLITS.val, replace(PostProcessingSettings.of(Knobs(), 3), class_detections=(1, 2)))
