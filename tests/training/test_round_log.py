"""Rounds are sent to TensorBoard, packages like wandb, and MLflow; each once, and a failure ends the log alone."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapopt.cli import main
from mapopt.errors import ConfigError
from mapopt.trackers import TRACKERS, check_tracker

TINY = [
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "8", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--figures", "False", "--controller", "constant"),
]
SHORT, LONGER = ["--images", "16", "--rounds", "2"], ["--images", "32", "--rounds", "4"]


class Sent:
    """What a fake package was given: its calls, and the numbers by step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.numbers: list[tuple[int, dict[str, float]]] = []
        self.broken = False

    def take(self, numbers: dict[str, float], step: int) -> None:
        if self.broken:
            raise OSError("no route to host")
        self.numbers.append((step, numbers))


def wandb(sent: Sent) -> types.ModuleType:
    module = types.ModuleType("wandb")

    def init(**given: Any) -> Any:
        sent.calls.append(("init", given))
        return types.SimpleNamespace(id=given.get("id", "first"))

    module.init, module.log, module.finish = init, sent.take, lambda: sent.calls.append(("finish", {}))
    return module


def trackio(sent: Sent) -> types.ModuleType:
    """The same interface with fewer words, as of trackio 0.43."""
    module = wandb(sent)

    def init(project: str, name: str | None = None, config: dict | None = None, resume: str = "never") -> Any:
        sent.calls.append(("init", {"project": project, "name": name, "config": config, "resume": resume}))
        return types.SimpleNamespace(id="own")

    module.init, module.__name__ = init, "trackio"
    return module


def mlflow(sent: Sent) -> types.ModuleType:
    module = types.ModuleType("mlflow")

    def start_run(run_id: str = "", run_name: str = "") -> Any:
        sent.calls.append(("init", {"id": run_id, "name": run_name}))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "first"))

    module.set_experiment = lambda name: None
    module.start_run, module.log_metrics = start_run, sent.take
    module.log_params = lambda params: sent.calls.append(("params", params))
    module.end_run = lambda: sent.calls.append(("finish", {}))
    return module


def tensorboard(sent: Sent) -> types.ModuleType:
    module = types.ModuleType("torch.utils.tensorboard")

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            sent.calls.append(("init", {"folder": folder, "purge_step": purge_step}))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            if not sent.numbers or sent.numbers[-1][0] != step:
                sent.take({}, step)
            sent.numbers[-1][1][name] = value

        def add_text(self, name: str, text: str) -> None:
            sent.calls.append(("text", {name: text}))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            sent.calls.append(("finish", {}))

    module.SummaryWriter = SummaryWriter
    return module


FAKES: dict[str, Callable[[Sent], types.ModuleType]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "trackio": trackio,
    "mlflow": mlflow,
}


@pytest.fixture
def sent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """A package in place of the real one, which need not be installed."""
    sent, find = Sent(), importlib.util.find_spec
    fake = FAKES[request.param](sent)
    spec = importlib.machinery.ModuleSpec(request.param, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == request.param else find(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return sent


def test_there_is_a_fake_for_every_log() -> None:
    assert set(FAKES) == set(TRACKERS)


@pytest.mark.parametrize(("log", "sent"), [(log, log) for log in FAKES], indirect=["sent"])
def test_every_round_is_sent_once_also_by_a_run_that_goes_on(log: str, sent: Sent, tmp_path: Path) -> None:
    run = tmp_path / "cells"
    assert main(["train", *TINY, *SHORT, "--out", str(run), "--log", log]) == 0
    assert main(["train", *TINY, *LONGER, "--out", str(run), "--log", log, "--resume"]) == 0
    assert [step for step, _ in sent.numbers] == [8, 16, 24, 32]
    rounds = [json.loads(line) for line in (run / "rounds.jsonl").open()]
    for (_, numbers), played in zip(sent.numbers, rounds, strict=True):
        assert numbers["val/ap"] == played["val"]["ap"]
        assert numbers["train/loss/box"] == played["interval"]["components"]["box"]
        assert numbers["knobs/lr"] == played["knobs"]["lr"]
        assert numbers["category/disc"] == played["val"]["per_category"][0]
        assert "val/f1" not in numbers, "it was not measured"
    inits = [given for name, given in sent.calls if name == "init"]
    assert len(inits) == [name for name, _ in sent.calls].count("finish") == 2
    if log == "tensorboard":
        assert [given["purge_step"] for given in inits] == [None, 17]
        assert inits[0]["folder"] == str(run / "tensorboard")
    elif log == "trackio":
        assert [(given["name"], given["resume"]) for given in inits] == [("cells", "allow")] * 2
    else:
        assert [given.get("id", "") for given in inits] == ["", "first"]
        assert inits[0]["name"] == "cells"
    settings = {
        "tensorboard": lambda: sent.calls[1][1]["config"],
        "mlflow": lambda: sent.calls[1][1],
    }.get(log, lambda: inits[0]["config"])()
    assert "recipe.batch_size" in settings


@pytest.mark.parametrize("sent", ["wandb"], indirect=True)
def test_a_log_that_fails_ends_and_the_training_does_not(
    sent: Sent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent.broken = True
    assert main(["train", *TINY, *SHORT, "--out", str(tmp_path), "--log", "wandb"]) == 0
    said = "--log wandb failed (no route to host): nothing more is sent there; the training goes on"
    assert capsys.readouterr().out.count(said) == 1
    assert json.loads((tmp_path / "result.json").read_text())["rounds"] == 2
    assert not (tmp_path / "log.json").exists()
    # What was not sent then is sent by the run that goes on.
    sent.broken = False
    assert main(["train", *TINY, *LONGER, "--out", str(tmp_path), "--log", "wandb", "--resume"]) == 0
    assert [step for step, _ in sent.numbers] == [8, 16, 24, 32]


def test_a_log_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for log, package in (("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow-skinny")):
        assert main(["train", *TINY, *SHORT, "--out", str(tmp_path / "run"), "--log", log]) == 2
        expected = f"--log {log} needs {log}, which is not installed: pip install {package}"
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="unknown log 'wandbb': did you mean 'wandb'"):
        check_tracker("wandbb")
