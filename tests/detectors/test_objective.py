import dataclasses
import subprocess
import sys

import pytest
from torch import Tensor

from mapopt.detectors.dense.assigners import TaskAlignedAssigner
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import APLoss, FocalLoss, smooth_l1_loss
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.recipe import Recipe


class BoxDistance:
    """A box loss with a setting of its own."""

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def __call__(self, boxes: Tensor, targets: Tensor) -> Tensor:
        return (boxes - targets).abs().pow(self.power).sum(-1)


def test_a_recipe_is_an_objective_with_the_same_names():
    names = [field.name for field in dataclasses.fields(Objective)]
    assert issubclass(Recipe, Objective)
    recipe = from_mapping(Recipe, {"loss": "rank_sort", "loss_settings": {"delta": 1.0}, "ema": 0.5}, "recipe.yaml")
    assert (recipe.loss, recipe.loss_settings, recipe.ema) == ("rank_sort", {"delta": 1.0}, 0.5)
    later = {
        "assignment",
        "assignment_settings",
        "balance_ratio",
        "blend_with",
        "blend_settings",
        "reward",
        "reward_samples",
    }  # left out of files while they are at their defaults
    assert set(names) <= {field.name for field in dataclasses.fields(recipe)}
    assert {*names} - {*to_mapping(recipe)} == later


def test_an_assignment_is_written_down_where_it_is_not_the_default():
    assert not {"assignment", "assignment_settings"} & set(to_mapping(Recipe()))
    recipe = Recipe.of(assignment=TaskAlignedAssigner(topk=10))
    kept = to_mapping(recipe)
    assert (kept["assignment"], kept["assignment_settings"]) == ("task_aligned", {"topk": 10})
    assert from_mapping(Recipe, kept, "recipe.yaml") == recipe


def test_losses_themselves_are_kept_as_what_they_can_be_made_of_again():
    objective = Objective(loss=APLoss(delta=0.5, gradient="exact"), box_loss=smooth_l1_loss)  # type: ignore[arg-type]
    assert (objective.loss, objective.box_loss) == ("ap", "smooth_l1")
    assert objective.loss_settings == {"delta": 0.5, "gradient": "exact"}
    assert Objective(loss=FocalLoss) == Objective(loss="focal")  # type: ignore[arg-type]


def test_the_text_of_a_loss_of_ones_own_imports_nothing():
    objective = Objective(loss="nowhere.losses:MyLoss", loss_settings={"margin": 1.0}, auxiliary={"nowhere:Other": 0.1})
    assert objective.loss == "nowhere.losses:MyLoss"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focl"}, "unknown loss 'focl': did you mean 'focal'"),
        ({"loss": "ap", "loss_settings": {"detla": 1.0}}, "did you mean 'delta'"),
        ({"auxiliary": {"corelation": 1.0}}, "did you mean 'correlation'"),
        ({"box_loss": "goiu"}, "unknown box loss 'goiu': did you mean 'giou'"),
        ({"box_loss": BoxDistance(2.0)}, r"BoxDistance' has settings {'power': 2.0}, for which a recipe has no place"),
        ({"scope": "clas"}, "unknown scope 'clas': did you mean 'class'"),
        ({"memory": -1}, "memory is -1: expected a number of scores"),
        (
            {"loss": "torchvision", "memory": 9, "scope": "class"},
            "scope='class', memory=9 given with loss 'torchvision'",
        ),
        ({"box_loss": "torchvision", "balance": "values"}, "balance is 'values' with box_loss 'torchvision', which"),
        ({"box_loss": "torchvision", "balance": "gradients"}, "balance is 'gradients' with box_loss 'torchvision'"),
        ({"balance": "gradient"}, "unknown balance 'gradient': did you mean 'gradients'"),
        ({"balance_ratio": 2.0}, "balance_ratio is 2.0 with balance 'none', which has no use for it: set balance to"),
        ({"balance": "gradients", "balance_ratio": 0.0}, "balance_ratio is 0.0: expected a number above 0"),
    ],
)
def test_objectives_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Objective(**settings)


def test_an_objective_is_checked_without_torch():
    code = """import sys
from mapopt.detectors.objective import Objective
Objective(loss="rank_sort", loss_settings={"delta": 1.0}, auxiliary={"correlation": 0.2})
print("torch" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
