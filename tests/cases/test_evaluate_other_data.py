"""A checkpoint is measured on a folder with one set alone, and on one COCO file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mapopt
from mapopt.commands.evaluate import Evaluate
from mapopt.commands.train import Train
from mapopt.errors import DataError
from mapopt.training import Recipe

HERE = Path(__file__).resolve().parent / "evaluate_other_data"


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    Train(
        data=str(HERE / "data"),
        out=folder,
        size=(48, 64),
        images=16,
        rounds=2,
        recipe=Recipe(batch_size=8),
        device="cpu",
    ).run()
    return folder / "best.pt"


@pytest.mark.parametrize("data", ["test_only", "test_only/test.json"])
def test_one_set_is_enough(best, data, tmp_path) -> None:
    Evaluate(checkpoint=best, data=str(HERE / data), resamples=0, device="cpu", figures=False, out=tmp_path).run()
    assert json.loads((tmp_path / "report.json").read_text())["images"] == 3
    assert mapopt.load(best).evaluate(HERE / data).ap >= 0


def test_a_set_that_is_not_there_is_named(best) -> None:
    with pytest.raises(DataError, match=r"has no val set. Name one that is there: test"):
        Evaluate(checkpoint=best, data=str(HERE / "test_only"), split="val", resamples=0, device="cpu").run()


def test_the_former_place_of_the_command_still_imports() -> None:
    from mapopt.experiments.evaluation import command

    assert command.Evaluate is Evaluate
