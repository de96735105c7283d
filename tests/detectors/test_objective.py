import dataclasses
import subprocess
import sys

import pytest

from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.recipe import Recipe


def test_a_recipe_is_an_objective_with_the_same_names():
    names = [field.name for field in dataclasses.fields(Objective)]
    assert issubclass(Recipe, Objective)
    recipe = from_mapping(Recipe, {"loss": "rank_sort", "loss_settings": {"delta": 1.0}, "ema": 0.5}, "recipe.yaml")
    assert (recipe.loss, recipe.loss_settings, recipe.ema) == ("rank_sort", {"delta": 1.0}, 0.5)
    assert set(names) <= set(to_mapping(recipe))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focl"}, "unknown loss 'focl': did you mean 'focal'"),
        ({"loss": "ap", "loss_settings": {"detla": 1.0}}, "did you mean 'delta'"),
        ({"auxiliary": {"corelation": 1.0}}, "did you mean 'correlation'"),
        ({"scope": "clas"}, "unknown scope 'clas': did you mean 'class'"),
        ({"memory": -1}, "memory is -1: expected a number of scores"),
        (
            {"loss": "torchvision", "memory": 9, "scope": "class"},
            "scope='class', memory=9 given with loss 'torchvision'",
        ),
        ({"box_loss": "torchvision", "balance": True}, "balance=True was given with box_loss 'torchvision'"),
    ],
)
def test_objectives_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Objective(**settings)


def test_an_objective_is_imported_without_torch():
    code = "import sys, mapopt.detectors.objective; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
