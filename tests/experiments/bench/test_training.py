"""`mapopt bench training`: torchvision's detectors in the trainer and in a plain loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.experiments.bench.settings import TrainingSettings
from mapopt.experiments.bench.training import plain_loop

SMALL = ["--detectors", "ssdlite", "--size", "64", "--batch-size", "2", "--steps", "1", "--repeats", "1"]


def test_it_prints_and_writes_the_ratio_of_images_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "training", *SMALL, "--out", str(tmp_path / "new")]) == 0
    (cost,) = json.loads((tmp_path / "new" / "training.json").read_text())
    assert cost["numbers"] > 2e6
    line = next(line for line in capsys.readouterr().out.splitlines() if "ssdlite" in line and "million" not in line)
    assert f"{cost['plain'] / cost['ours']:.2f}" in line
    assert f"{1 / cost['ours']:.2f}" in line


def test_the_plain_loop_trains_and_leaves_the_global_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_shapes_splits(ShapesConfig(size=64), seed=0, train=8, val=1, test=1)
    settings = TrainingSettings(detectors=("ssdlite",), size=64, batch_size=2, steps=2, repeats=1)
    losses = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: (losses.append(float(self.detach())), backward(self))[1])
    stream = torch.get_rng_state()
    play = plain_loop("ssdlite", splits, settings, torch.device("cpu"), 0)
    assert torch.equal(stream, torch.get_rng_state())
    play(), play()
    assert len(losses) == 4
    assert losses[-1] < losses[0]
