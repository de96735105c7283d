"""`mapopt bench env`: what it prints and writes, what it refuses, and that its measurements measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.experiments.bench import environments
from mapopt.experiments.bench.environments import InterfaceCost, StepCost
from mapopt.experiments.bench.round import RoundCost

COST = RoundCost(
    data=0.3,
    forward=1.0,
    losses=0.0,
    backward=1.2,
    optimizer=0.1,
    network=0.2,
    suppression=0.1,
    transfer=0.05,
    average_precision=0.05,
    rest=0.2,
)


def test_tables_and_file_hold_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(lanes: int, size: int, *, repeats: int, seed: int, device: torch.device) -> StepCost:
        asked.append((lanes, size, seed, device.type))
        return StepCost(lanes=lanes, size=size, cost=COST)

    interfaces = [
        InterfaceCost(name="fleets", lanes=4, processes=2, seconds=2.0),
        InterfaceCost(name="singles", lanes=1, processes=2, seconds=4.0),
    ]
    monkeypatch.setattr(environments, "measure_step", measured)
    monkeypatch.setattr(environments, "measure_interfaces", lambda *_, **__: interfaces)
    monkeypatch.setattr(environments, "measure_post_processing", lambda *_: {"ap": 4321.0})
    words = ["bench", "env", "--lanes", "1", "4", "--sizes", "32", "--seed", "5", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    assert asked == [(1, 32, 5, "cpu"), (4, 32, 5, "cpu")]
    out = capsys.readouterr().out
    assert "1.25" in out, "four steps in 3.2 seconds"
    assert "21.9%" in out, ".7 of 3.2 seconds are neither network nor optimizer"
    assert "8.00" in out, "2 steps a second and core against .25"
    assert "4321" in out
    written = json.loads((tmp_path / "new" / "env.json").read_text())
    assert [row["lanes"] for row in written["fleets"]] == [1, 4]
    assert written["fleets"][0]["cost"]["data"] == 0.3
    assert written["post_processing_steps_per_second"] == {"ap": 4321.0}


@pytest.mark.parametrize(("flag", "value", "expected"), [
    ("--lanes", "0", "expected 1 or more"), ("--sizes", "8", "expected 16 or more"),
    ("--workers", "-1", "expected 0 or more"), ("--repeats", "0", "expected 1 or more"),
])  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(
    flag: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "env", flag, value]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.slow
def test_fleets_single_lanes_and_settings_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"repeats": 1, "seed": 0, "device": torch.device("cpu")}
    step = environments.measure_step(2, 16, **settings)
    assert step.steps_per_second == pytest.approx(2 / step.cost.total)
    assert min(step.cost.data, step.cost.forward, step.cost.backward, step.cost.network, step.cost.rest) > 0
    assert set(environments.measure_post_processing(64, 1, 0)) == {"ap", "f1", "lrp"}
    fleet, single = environments.measure_interfaces(2, workers=1, **settings)
    assert (fleet.lanes, single.lanes) == (2, 1)
    assert fleet.per_core == pytest.approx(2 / fleet.seconds)
