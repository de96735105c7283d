"""What the verbs at the top say of values, objects and images that are none of what they take."""

from pathlib import Path
from typing import Any

import pytest
import torch

import mapopt
from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import CheckpointError, ConfigError, DataError

TINY: dict[str, Any] = {
    "scenes": {"size": 32, "object_size": [8.0, 16.0]},
    "scene_counts": (16, 8, 8),
    "device": "cpu",
    "recipe": {"batch_size": 8},
    "images": 64,
    "rounds": 4,
}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": None}, "train: images is null: expected a whole number"),
        ({"seed": "x"}, "train: seed is 'x': expected a whole number"),
        ({"seed": -1}, "seed is -1: expected a whole number from 0 to"),
        ({"out": 3}, "out is of type int: expected the path of a folder, or None"),
        ({"recipe": {"batch_size": "many"}}, "recipe: batch_size is 'many': expected a whole number"),
        ({"loss": 3}, "loss of type int "),
        ({"optimizer": []}, "optimizer of type list is no class"),
        ({"detector": {}}, "detector of type dict cannot be called"),
        ({"box_loss": 3}, "box loss of type int "),
    ],
)
def test_a_value_of_a_wrong_type_is_said_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as error:
        mapopt.train(**{**TINY, **given})
    assert "\n" not in str(error.value)


def test_what_is_no_path_is_no_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="a checkpoint of type int: expected the path of a run's folder or file"):
        mapopt.load(3)  # type: ignore[arg-type]


def test_a_box_loss_is_given_like_the_other_parts() -> None:
    trained = mapopt.train(**TINY, box_loss="smooth_l1")
    assert trained.detector.checkpoint.recipe.box_loss == "smooth_l1"


def test_a_finished_run_is_not_measured_on_other_images(tmp_path: Path) -> None:
    splits = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=16, val=8, test=8)
    small: dict[str, Any] = {"out": tmp_path / "run", "device": "cpu", "recipe": {"batch_size": 8}}
    small |= {"images": 16, "rounds": 1}
    mapopt.train(splits, **small)
    other = Splits(train=splits.train, val=splits.test, test=splits.val)
    with pytest.raises(DataError, match="data in memory: the images or annotations are not those that"):
        mapopt.train(other, resume=True, **small)


class LearnedLoss(torch.nn.Module):
    """A loss with a parameter that no optimizer is given."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(()))

    def forward(self, scores: torch.Tensor, labels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return (scores[labels == 0].mean() - scores[labels > 0].mean()) * self.slope


def test_a_loss_whose_parameters_nothing_trains_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has parameters of its own, which nothing would train: declare them as"):
        mapopt.train(**TINY, loss=LearnedLoss)


def test_what_is_no_experiment_is_said_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^config is of type int: expected a file, a name, a mapping"):
        mapopt.compare(3)  # type: ignore[arg-type]
