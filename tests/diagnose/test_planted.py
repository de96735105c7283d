"""Planted mistakes: each is named first or second; those that show early after a tenth of the budget or before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.data.augmentation.settings import Augmentation
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.diagnose import Diagnosis, diagnose_case
from mapopt.training.diagnosis.reading import make_case
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.settings import TrainSettings

from .conftest import EARLY, SCENES, MakeRun, save_coco_folder, with_boxes, with_notes, write_coco_folder


def named(diagnosis: Diagnosis, kind: str) -> str:
    """Returns the message of a kind of finding, which must be first or second and have a change to try."""
    kinds = [finding.kind for finding in diagnosis.findings]
    assert kind in kinds[:2], kinds
    finding = diagnosis.findings[kinds.index(kind)]
    assert finding.counts
    assert finding.change
    return finding.message


SETTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "warm-up as long as the run": (
        "warmup",
        {"schedule": Schedule(warmup=1.0)},
        "the warm-up takes 100% of the 12800 images",
    ),
    "a gamma for a loss without one": (
        "unread",
        {"knobs": Knobs(focal_gamma=2.5)},
        "knob focal_gamma is 2.5, and nothing reads it",
    ),
    "a gamma that moves for a loss without one": (
        "unread",
        {"schedule": Schedule(focal_gamma=(3.0, 1.0))},
        "knob focal_gamma is 3, and nothing reads it",
    ),
    "a batch as large as a fifth of the budget": (
        "few_steps",
        {"recipe": Recipe(batch_size=640)},
        "is 20 steps of 640 images",
    ),
    "two epochs": ("few_epochs", {"images": 320, "recipe": Recipe(batch_size=2)}, "2.5 times"),
    "the strongest augmentation": ("strong_augmentation", {"knobs": Knobs(augment=1.0)}, "strength 1"),
    "crops and holes that leave little": (
        "lost_objects",
        {"recipe": Recipe(augmentation=Augmentation(scale=4, cut_out=1, cut_out_size=0.9))},
        "when augmentation (scale, cut-out) has cropped and hidden the others",
    ),
    "a strength for nothing that follows it": (
        "unread",
        {
            "knobs": Knobs(augment=0.9),
            "recipe": Recipe(
                augmentation=Augmentation(flip=0.5, scale=1.2, brightness=0.1, contrast=0.1, saturation=0.1, noise=2)
            ),
        },
        "knob augment is 0.9, and nothing reads it: every kind that follows it has a number of its own",
    ),
    "a factor of no kinds": (
        "unread",
        {"knobs": Knobs(augment_kinds=0.5)},
        "knob augment_kinds is 0.5, and nothing reads it: the recipe names no kinds of augmentation",
    ),
    "an assignment that nothing meets": (
        "few_positives",
        {"knobs": Knobs(assign_iou=0.9)},
        "no location whose prior overlaps them by 0.90",
    ),
}


def test_default_settings_raise_no_alarm() -> None:
    assert not diagnose_case(make_case(TrainSettings())).alarms


@pytest.mark.parametrize("mistake", SETTINGS)
def test_a_mistake_in_the_settings_is_named_before_the_run(mistake: str) -> None:
    kind, settings, said = SETTINGS[mistake]
    case = make_case(TrainSettings(scene_counts=(128, 64, 8), **settings))
    assert said in named(diagnose_case(case), kind)


def _without_area(content: dict[str, Any]) -> None:
    for entry in content["train"]["annotations"][::10]:
        entry["bbox"][2] = 0


def _twice(content: dict[str, Any]) -> None:
    notes = content["train"]["annotations"]
    notes += [{**entry, "id": 10_000 + entry["id"]} for entry in notes[::8]]


def _corners(content: dict[str, Any]) -> None:
    for part in content.values():
        for entry in part["annotations"]:
            left, top, width, height = entry["bbox"]
            entry["bbox"] = [left, top, left + width, top + height]


def _ids_from_zero(content: dict[str, Any]) -> None:
    for part in content.values():
        for entry in part["categories"]:
            entry["id"] -= 1


def _root(content: dict[str, Any]) -> None:
    for part in content.values():
        part["categories"].insert(0, {"id": 0, "name": "shapes"})


def _no_triangles(content: dict[str, Any]) -> None:
    notes = content["train"]["annotations"]
    notes[:] = [entry for entry in notes if entry["category_id"] != 3]


FOLDERS: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "boxes without area": ("annotation_faults", _without_area, "boxes without area"),
    "boxes given twice": ("annotation_faults", _twice, "the same object boxed twice"),
    "corners for sizes": ("annotation_faults", _corners, "Read as left, top, right and bottom they fit"),
    "ids one too high": ("ids_off_by_one", _ids_from_zero, "all ids are off by one"),
    "a root category": ("root_category", _root, "such as 'shapes', have no object in any set"),
    "a class that train lacks": ("missing_class", _no_triangles, "'triangle' has no object to learn from in train"),
}


@pytest.fixture(scope="module")
def few_splits() -> Splits:
    return make_shapes_splits(SCENES, seed=6, train=30, val=12, test=12)


@pytest.mark.parametrize("mistake", FOLDERS)
def test_a_mistake_in_a_folder_is_named_before_the_run(mistake: str, few_splits: Splits, tmp_path: Path) -> None:
    kind, spoil, said = FOLDERS[mistake]
    folder = tmp_path / "cells"
    content = write_coco_folder(folder, few_splits)
    settings = TrainSettings(data=str(folder), size=(32, 32), invalid="error")
    assert not diagnose_case(make_case(settings)).alarms
    spoil(content)
    save_coco_folder(folder, content)
    assert said in named(diagnose_case(make_case(settings)), kind)


def test_val_images_that_were_trained_on_are_named(few_splits: Splits, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    write_coco_folder(folder, few_splits)
    for row in range(4):
        picture = Image.open(folder / "images" / f"train{row}.png")
        picture.point(lambda value: min(255, value + 2)).save(folder / "images" / f"val{row}.png")
    case = make_case(TrainSettings(data=str(folder), size=(32, 32)))
    assert "4 of 24 val and test images (16.7%)" in named(diagnose_case(case), "leak")


def test_an_image_that_cannot_be_read_is_named(few_splits: Splits, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    write_coco_folder(folder, few_splits)
    path = folder / "images" / "train3.png"
    path.write_bytes(path.read_bytes()[:200])
    case = make_case(TrainSettings(data=str(folder), size=(32, 32)))
    assert "train3.png" in named(diagnose_case(case), "unreadable")


def in_memory(splits: Splits) -> Case:
    """A run of the default recipe on splits that is not begun."""
    return make_case(TrainSettings(), splits=splits, in_memory=True)


def test_boxes_of_other_images_are_named(splits: Splits) -> None:
    notes = splits.train.annotations
    turned = with_notes(splits.train, images=(notes.images + 1) % len(notes))
    diagnosis = diagnose_case(in_memory(Splits(turned, splits.val, splits.test)))
    assert "annotations and images do not belong together" in named(diagnosis, "strange_boxes")


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_boxes_left_behind_by_a_flip_are_named(splits: Splits, fraction: float) -> None:
    pixels, count = splits.train.pixels.clone(), round(fraction * len(splits.train))
    pixels[:count] = pixels[:count].flip(-1)
    spoiled = Splits(dataclasses.replace(splits.train, pixels=pixels), splits.val, splits.test)
    assert "mirrored sideways" in named(diagnose_case(in_memory(spoiled)), "left_behind")


def test_val_images_of_another_light_are_named(splits: Splits) -> None:
    dark = dataclasses.replace(splits.val, pixels=splits.val.pixels // 5)
    diagnosis = diagnose_case(in_memory(Splits(splits.train, dark, splits.test)))
    assert "the val images are not like the train images" in named(diagnosis, "other_images")


def test_images_that_are_nearly_black_are_named(splits: Splits) -> None:
    dark = [dataclasses.replace(images, pixels=images.pixels // 16) for _, images in splits.named()]
    assert "nearly black" in named(diagnose_case(in_memory(Splits(*dark))), "dark_images")


def test_objects_that_are_too_small_are_named() -> None:
    specks = make_shapes_splits(ShapesConfig(size=48, object_size=(4, 5)), seed=1, train=40, val=20, test=8)
    scaled = [dataclasses.replace(images, scale=images.scale * 0 + 0.6) for _, images in specks.named()]
    assert "have a side below 4 pixels" in named(diagnose_case(in_memory(Splits(*scaled))), "small_objects")


def test_a_starved_class_is_named() -> None:
    scenes = dataclasses.replace(SCENES, imbalance=100.0)
    diagnosis = diagnose_case(in_memory(make_shapes_splits(scenes, seed=5, train=128, val=64, test=16)))
    assert "'triangle' has 4 objects to learn from, where 'disc' has 273" in named(diagnosis, "starved_class")


RUNS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a rate that is too high": ("rate_too_high", {"knobs": {"lr": 3.0}}, "at a learning rate of 1.65"),
    "a rate that is too low": ("rate_too_low", {"knobs": {"lr": 1e-4}}, "which hardly move; the loss went from"),
    "a score threshold on a ranking loss": (
        "score_threshold",
        {"loss": "ap", "knobs": {"score_threshold": 0.6}},
        "costs AP: 0.000 with it",
    ),
    "one box per image": ("limit", {"knobs": {"detections": 1.0}}, "the limit of 1 boxes per image costs AP"),
    "every step clipped": (
        "clipped",
        {"optimizer": "sgd", "knobs": {"lr": 1.0}, "recipe": {"clip": 0.01}},
        "the gradient was clipped in 100% of 16 steps",
    ),
}


@pytest.mark.parametrize("mistake", RUNS)
def test_a_mistake_that_shows_early_is_named_after_a_tenth(mistake: str, splits: Splits, make_run: MakeRun) -> None:
    kind, settings, said = RUNS[mistake]
    case = make_run(splits, rounds=EARLY, **settings)
    assert case.progress == 0.1
    assert said in named(diagnose_case(case), kind)


def test_a_suppression_that_drops_neighbors_is_named(make_run: MakeRun) -> None:
    crowded = dataclasses.replace(SCENES, objects=(4, 8), occlusion=0.6)
    splits = make_shapes_splits(crowded, seed=5, train=128, val=64, test=8)
    diagnosis = diagnose_case(make_run(splits, knobs={"nms_iou": 0.1, "soft_nms_sigma": 0.0}))
    assert "suppression from IoU 0.1 on costs AP" in named(diagnosis, "suppression")
    assert (diagnosis.findings[0].price or 0.0) > 0.005


def test_names_that_are_mixed_up_in_val_are_named(splits: Splits, make_run: MakeRun) -> None:
    mixed = with_notes(splits.val, labels=(splits.val.annotations.labels + 1) % 3)
    diagnosis = diagnose_case(make_run(Splits(splits.train, mixed, splits.test)))
    assert "'disc' on 'box', 'box' on 'triangle', 'triangle' on 'disc'" in named(diagnosis, "mixed_names")


def test_val_boxes_of_another_convention_are_named(splits: Splits, make_run: MakeRun) -> None:
    moved = with_boxes(splits.val, splits.val.annotations.boxes + 3)
    diagnosis = diagnose_case(make_run(Splits(splits.train, moved, splits.test)))
    assert "annotated by another convention" in named(diagnosis, "convention")
    assert "to the right" in diagnosis.findings[0].message or "below" in diagnosis.findings[0].message


def test_learning_by_heart_is_named(splits: Splits, make_run: MakeRun) -> None:
    few = Splits(splits.train.select(range(8)), splits.val, splits.test)
    diagnosis = diagnose_case(make_run(few, knobs={"augment": 0.0}))
    assert "the 8 train images are learned by heart" in named(diagnosis, "overfitting")


def test_a_detector_that_does_not_fit_its_own_images_is_named(splits: Splits, make_run: MakeRun) -> None:
    diagnosis = diagnose_case(make_run(splits, optimizer="sgd", knobs={"lr": 0.01}))
    assert "does not fit even what it was trained on" in named(diagnosis, "underfitting")


def test_the_healthy_run_raises_no_alarm(healthy: Case) -> None:
    diagnosis = diagnose_case(healthy)
    assert not diagnosis.alarms, diagnosis.alarms
    assert set(diagnosis.left_out) == {"ids", "annotations", "leaks"}


def test_the_healthy_run_raises_no_alarm_after_a_tenth(splits: Splits, make_run: MakeRun) -> None:
    assert not diagnose_case(make_run(splits, rounds=EARLY)).alarms


def test_figures_are_finite(healthy: Case) -> None:
    assert all(np.isfinite(figure.figure) for figure in diagnose_case(healthy).figures)
