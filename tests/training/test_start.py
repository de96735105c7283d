"""A run that starts from another's weights: the same detector on the same classes, and classes matched by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt import train
from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import CheckpointError
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.fleet import Trainer
from mapopt.training.recipe import Recipe
from mapopt.training.start import start_from
from mapopt.training.task import Task


def renamed(task: Task, names: tuple[str, ...]) -> Task:
    """Returns a task whose categories have other names."""
    splits = {}
    for split, images in task.splits.named():
        notes = dataclasses.replace(images.annotations, category_names=names)
        splits[split] = dataclasses.replace(images, annotations=notes)
    return dataclasses.replace(task, splits=dataclasses.replace(task.splits, **splits))


def saved(trainer: Trainer, folder: Path) -> Path:
    train = trainer.task.splits.train
    names = train.annotations.category_names
    states = CheckpointFolder(folder=folder, recipe=trainer.task.recipe, categories=names, size=train.size, settings={})
    states.save("best", trainer.snapshot(), [])
    return folder / "best.pt"


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=64), seed=3, train=4, val=2, test=2)


LARGER = ("resnet18", "retinanet_resnet18", "fcos_resnet18", "faster_rcnn_resnet18")


@pytest.fixture(params=["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)])
def task(request: pytest.FixtureRequest, splits: Splits) -> Task:
    return Task(name="larger", splits=splits, recipe=Recipe(detector=request.param, batch_size=4))


def test_classes_in_another_order_keep_their_scores(task: Task, tmp_path: Path) -> None:
    first = Trainer(task, 1)
    path = saved(first, tmp_path)
    names = task.splits.train.annotations.category_names
    again = Trainer(task, 2)
    start_from(again, path)
    weights = first.snapshot().tensors["weights"]
    assert torch.equal(again.snapshot().tensors["weights"], weights), "the same classes have the same weights"
    turned = Trainer(renamed(task, (*names[1:], names[0])), 3)
    start_from(turned, path)
    theirs, ours = first.detect("val"), turned.detect("val")
    assert len(ours) == len(theirs)
    assert not torch.equal(turned.snapshot().tensors["weights"], weights)
    again.restore(turned.snapshot())
    start_from(again, saved(turned, tmp_path / "turned"))
    assert torch.equal(again.snapshot().tensors["weights"], weights), "and back again"
    assert np.array_equal(ours.image_ids, theirs.image_ids)
    # Sums over classes are taken in another order.
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-5)


def test_a_class_of_another_name_starts_afresh(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task()
    first = Trainer(task, 1)
    names = task.splits.train.annotations.category_names
    other = Trainer(renamed(task, (*names[:-1], "unheard of")), 2)
    fresh = other.snapshot().tensors["weights"]
    start_from(other, saved(first, tmp_path))
    parts = other.fleet.detectors[0].parts()
    sizes = [torch.Size(shape).numel() for shape in parts.values()]
    ours, theirs, drawn = (
        dict(zip(parts, row.split(sizes), strict=True))["head"].view(parts["head"])
        for row in (other.snapshot().tensors["weights"], first.snapshot().tensors["weights"], fresh)
    )
    last = len(names) - 1
    assert torch.equal(ours[:last], theirs[:last])
    assert torch.equal(ours[last], drawn[last])
    assert torch.equal(ours[last + 1 :], theirs[last + 1 :]), "the box is everybody's"


def test_a_checkpoint_of_another_detector_is_refused(
    make_task: Callable[..., Task], splits: Splits, tmp_path: Path
) -> None:
    path = saved(Trainer(make_task()), tmp_path)
    with pytest.raises(CheckpointError, match=r"is of the detector 'tiny', not 'resnet18': give --recipe\.detector t"):
        start_from(Trainer(Task(name="larger", splits=splits, recipe=Recipe(detector="resnet18"))), path)
    with pytest.raises(CheckpointError, match="no such file; expected a checkpoint"):
        train(images=64, rounds=2, start_from=tmp_path / "none", device="cpu")


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu"}
    first = train(**options, out=tmp_path / "first")
    second = train(**options, start_from=tmp_path / "first", out=tmp_path / "second", progress=True)
    start = first.history[first.selected].val.ap
    assert f"starts from {tmp_path / 'first'} at a val AP of {start:.4f}\n" in capsys.readouterr().out
    plain = train(**options)
    assert second.history[0].interval.class_loss != plain.history[0].interval.class_loss
    assert "start_from" in (tmp_path / "second" / "config.yaml").read_text()
    assert "start_from" not in (tmp_path / "first" / "config.yaml").read_text()
    assert first.status == "finished"
