from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.errors import CheckpointError
from mapopt.settings import to_mapping
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.fleet import Trainer
from mapopt.training.task import Task


def save_as_it_was(path: Path, task: Task, limit: int) -> None:
    """Writes a checkpoint from before the limit of boxes became a knob."""
    train = task.splits.train
    Checkpoint(
        snapshot=Trainer(task).snapshot(),
        recipe=task.recipe,
        categories=train.annotations.category_names,
        size=train.size,
        history=(),
        settings={},
    ).save(path)
    content = torch.load(path, weights_only=True)
    content["recipe"]["limit"], content["version"] = limit, 1
    del content["checksum"]
    del content["state"]["knobs"]["detections"]
    torch.save(content, path)


def test_the_limit_of_an_older_recipe_is_read_as_the_knob(tmp_path: Path, make_task: Callable[..., Task]) -> None:
    save_as_it_was(tmp_path / "old.pt", make_task(), 30)
    loaded = Checkpoint.load(tmp_path / "old.pt")
    assert loaded.snapshot.knobs.detections == 30
    assert loaded.recipe == make_task().recipe


def test_a_limit_that_the_knob_cannot_be_is_refused(tmp_path: Path, make_task: Callable[..., Task]) -> None:
    save_as_it_was(tmp_path / "old.pt", make_task(), 1000)
    with pytest.raises(
        CheckpointError, match=r"old\.pt: .*up to 1000 boxes per image; the knob `detections` ends at 300"
    ):
        Checkpoint.load(tmp_path / "old.pt")


@pytest.mark.parametrize(("before", "now"), [(None, "values"), (True, "values"), (False, "none")])
def test_how_an_older_recipe_balances_box_and_class_loss_stays(
    before: bool | None, now: str, tmp_path: Path, make_task: Callable[..., Task]
) -> None:
    task, path = make_task(loss="rank_sort", balance=before), tmp_path / "old.pt"
    train, recipe = task.splits.train, to_mapping(task.recipe)
    settings = {"recipe": recipe, "seed": 3}
    Checkpoint(
        snapshot=Trainer(task).snapshot(),
        recipe=task.recipe,
        categories=train.annotations.category_names,
        size=train.size,
        history=(),
        settings=settings,
    ).save(path)
    content = torch.load(path, weights_only=True)
    content["version"] = 1
    del content["checksum"]
    for part in (content, content["settings"]):
        part["recipe"]["balance"] = before
    torch.save(content, path)
    loaded = Checkpoint.load(path)
    assert loaded.recipe.balance == now
    assert loaded.settings == settings
    assert settings["recipe"]["balance"] == now
