"""The commands of `mapopt bench`: how they are asked for, what they refuse, what they print and write."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mapopt.cli import main
from mapopt.detectors import DenseDetector
from mapopt.experiments.bench import fleet, idle, loss_peers
from mapopt.experiments.bench.arithmetic import StepArithmetic, measure_arithmetic, useful_operations
from mapopt.experiments.bench.idle import ActiveCost, AloneCost, HalvingCost, IdleCosts
from mapopt.experiments.bench.round import RoundCost, measure_round
from mapopt.experiments.commands.bench import BenchLosses
from mapopt.losses import LOSSES
from mapopt.training import OPTIMIZERS

TIMED = ["--sizes", "200", "400", "--positives", "0.1", "5", "--repeats", "1"]
SMALL = [*TIMED, "--lists", "8", "--seeds", "2", "--steps", "5"]


@pytest.mark.parametrize("words", [["bench"], ["bench", "--help"], ["bench", "-h"], ["bench", "help"]])
def test_the_family_lists_its_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: mapopt bench COMMAND ")
    for name in ("losses", "ap", "fleet"):
        assert f"  bench {name} " in text
    assert "  train " not in text.split("commands:")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "lossess"], "mapopt bench: error: unknown command 'lossess': did you mean 'losses'? Known: ap, "),
        (
            ["bench", "--out"],
            "mapopt bench: error: unknown command '--out'. Known: ap, audit, cli, env, fleet, headroom, learners",
        ),
        (["bench", "losses", "--sices", "10"], "mapopt bench losses: error: unknown flag '--sices': did you mean '--s"),
        (["bench", "losses", "--members", "app"], "mapopt bench losses: error: unknown loss 'app': did you mean 'ap"),
        (["bench", "losses", "--members"], "mapopt bench losses: error: --members is empty: name at least one\n"),
        (["bench", "losses", "--sizes", "1"], "mapopt bench losses: error: --sizes is 1: expected 2 or more\n"),
        (["bench", "losses", "--limit", "0"], "mapopt bench losses: error: --limit is 0.0: expected 0.001 or more\n"),
        (
            ["bench", "losses", "--threads", "0"],
            "mapopt bench losses: error: threads is 0: expected a whole number from 1 to 1024\n",
        ),
        (["bench", "ap", "--repeats", "0"], "mapopt bench ap: error: --repeats is 0: expected 1 or more\n"),
        (["bench", "ap", "--sets"], "mapopt bench ap: error: --sets is empty: name at least one of small, medium, "),
        (["bench", "fleet", "--numbers", "-1"], "mapopt bench fleet: error: --numbers is -1: expected 0 or more\n"),
        (["bench", "training", "--size", "100"], "mapopt bench training: error: --size is 100: expected a multiple of"),
        (["bench", "training", "--detectors", "tiny"], "mapopt bench training: error: unknown detector of torchvision"),
        (["bench", "fleet", "--lanes", "0"], "mapopt bench fleet: error: --lanes is 0: expected 1 or more\n"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("name", ["losses", "ap", "fleet", "training"])
def test_a_folder_that_is_not_empty_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert main(["bench", name, "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_losses_prints_every_part_and_writes_what_it_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert main(["bench", "losses", "--members", "ap", "focal", *SMALL, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    for heading in (
        "forward and backward, 10 % of",
        "5 positives",
        "fidelity",
        "descent",
        "fraction of the sum",
        "claims",
    ):
        assert heading in text
    assert {path.name for path in out.iterdir()} == {"losses.json", "time.png", "memory.png"}
    measured = json.loads((out / "losses.json").read_text())
    assert {row["name"] for row in measured["points"]} == {"ap", "focal", "ap, published loop", "ap, all pairs"}
    assert {row["name"] for row in measured["descent"]} == {"ap", "focal"}
    assert {row["kind"] for row in measured["fidelity"]} == {"random", "tied", "separated", "adversarial"}
    assert {row["scope"] for row in measured["mass"]} == {"batch", "class"}
    assert len(measured["claims"]) == text.count("holds") + text.count("FAILS") + text.count("not measured")


def test_only_the_parts_asked_for_are_measured_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "losses", "--parts", "descent", "--members", "bce", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "descent" in text
    assert "forward" not in text
    assert "claims" not in text
    assert list(tmp_path.iterdir()) == []


def test_an_own_loss_is_measured_by_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def hinge(scores, labels, where=None):\n    return (1 - scores * labels.sign()).clamp(min=0).mean()\n"
    (tmp_path / "losses_of_mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    words = ["bench", "losses", "--parts", "time", "descent", "--members", "losses_of_mine:hinge", *SMALL]
    assert main(words) == 0
    assert capsys.readouterr().out.count("losses_of_mine:hinge") == 3, "two tables of times, and the descent"
    assert main(["bench", "losses", "--members", "losses_of_mine:huber"]) == 2
    assert "unknown attribute 'huber'" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    def measure(seed: int, place: str) -> list[object]:
        words = ["bench", "losses", "--parts", "fidelity", "mass", "--members", "smooth_ap", "--lists", "8"]
        assert main([*words, "--seed", str(seed), "--out", str(tmp_path / place)]) == 0
        measured = json.loads((tmp_path / place / "losses.json").read_text())
        return [measured["fidelity"], measured["mass"]]

    assert measure(1, "a") == measure(1, "b")
    assert measure(1, "c") != measure(2, "d")


def test_peers_that_are_not_installed_are_named_with_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_peers.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "losses", "--peers"]) == 2
    assert capsys.readouterr().err == (
        "mapopt bench losses: error: --peers compares with LibAUC and pytorch-metric-learning, but LibAUC and "
        'pytorch-metric-learning are not installed: pip install "mapopt[peers]"\n'
    )


def test_a_peer_that_cannot_be_imported_is_reported_and_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(loss_peers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(loss_peers.importlib, "import_module", broken)
    peers = loss_peers.find_peers()
    assert peers.modules == {}
    assert peers.notes == [
        "LibAUC is installed but cannot be imported (OSError: no such library): left out",
        "pytorch-metric-learning is installed but cannot be imported (OSError: no such library): left out",
    ]
    assert loss_peers.on_scores(peers) == []


@pytest.mark.skipif(
    any(loss_peers.importlib.util.find_spec(module) is None for module in loss_peers.PACKAGES),
    reason="the peers are not installed",
)
def test_our_losses_on_embeddings_are_the_peers() -> None:
    import torch

    rows = loss_peers.on_embeddings(loss_peers.find_peers(), repeats=1, device=torch.device("cpu"), seed=0)
    assert {row.name for row in rows} == {"FastAP", "Smooth-AP"}
    for row in rows:
        assert row.loss_difference < 1e-5
        assert row.cosine > 0.9999


def test_every_member_is_measured_by_default() -> None:
    assert BenchLosses().members == tuple(LOSSES)


def test_fleet_prints_and_writes_a_row_for_every_number_of_lanes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def cost(lanes: int, steps: int, repeats: int, device: object, seed: int) -> fleet.FleetCost:
        asked.append((lanes, steps, repeats, seed))
        return fleet.FleetCost(lanes, 0.5, lanes / 0.5)

    monkeypatch.setattr(fleet, "measure_fleet", cost)
    monkeypatch.setattr(fleet, "measure_round", lambda *_: _round(data=1.0, forward=2.0, losses=1.0, network=0.2))
    measured = {"operations": 130_830_336, "seconds": 2e-3, "product": 8e10, "fraction": 0.818}
    monkeypatch.setattr(fleet, "measure_arithmetic", lambda lanes, *_: StepArithmetic(lanes=lanes, **measured))
    costs = IdleCosts(
        active=(ActiveCost(active=1, lanes=3, seconds=0.004, lane_steps=1.75),),
        halving=HalvingCost(settings=32, images=5000, seconds=2.0, ratio=1.25),
        alone=AloneCost(images_per_second=300.0, padded_images_per_second=200.0, ratio=1.5),
    )
    monkeypatch.setattr(fleet, "measure_idle", lambda *_: costs)
    words = ["bench", "fleet", "--lanes", "1", "3", "--steps", "2", "--repeats", "4", "--seed", "5", "--numbers", "500"]
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "new")]) == 0
    assert asked == [(1, 2, 4, 5), (3, 2, 4, 5)]
    out = capsys.readouterr().out
    assert "3.00" in out, "three lanes do three times the steps of one"
    assert "16.0%" in out, "of a round of 5 seconds .8 go into evaluation"
    assert "32.0%" in out, "of a round of 5 seconds 1.6 are neither network nor optimizer"
    assert re.search(r"\n +3 +2.00 +0.131 +65.4 +80.0 +82%", out)
    written = json.loads((tmp_path / "new" / "fleet.json").read_text())
    assert [row["lanes"] for row in written["fleets"]] == [1, 3]
    assert [row["fraction"] for row in written["arithmetic"]] == [0.818, 0.818]
    assert [row["lanes"] for row in written["rounds"]] == [2, 3]
    updates = {row["name"]: row for row in written["updates"]}
    assert set(OPTIMIZERS) < set(updates)
    assert updates["adamw"]["numbers"] == 500
    assert all(updates["adamw"][which] > 0 for which in ("ours", "foreach", "fused"))
    assert "an update of 500 numbers of one lane" in out
    assert re.search(r"\n +1 of 3 +4.0 +4.00 +1.75", out)
    assert re.search(r"halving of 32 settings +2500 +3125 +costs 1.25 times", out)
    assert re.search(r"a single lane +300 +200 +1.50 times the images", out)
    assert written["idle"]["active"][0]["lane_steps"] == 1.75


def test_what_lanes_that_rest_cost_is_measured_beside_what_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    computed: list[int] = []
    losses = DenseDetector.losses

    def counted(self: Any, images: Any, *given: Any, **more: Any) -> Any:
        computed.append(len(images))
        return losses(self, images, *given, **more)

    monkeypatch.setattr(DenseDetector, "losses", counted)
    monkeypatch.setattr(idle, "measure", lambda work, device: (work(), float(len(computed)))[1])
    costs = idle.measure_active(5, 1, 1, torch.device("cpu"))
    assert [cost.active for cost in costs] == [1, 2, 4, 5]
    assert computed == [1, 2, 4, 5] * 2
    assert costs[-1].lane_steps == pytest.approx(5.0)
    computed.clear()
    halving = idle.measure_halving(4, 2, 1, torch.device("cpu"))
    assert computed == [4, 4, 2, 2, 1, 1, 4, 4] * 2
    assert halving.images == 7 * 2 * 16
    computed.clear()
    assert idle.measure_alone(2, 1, torch.device("cpu")).ratio > 1
    assert computed == [1, 1, 2, 2] * 2


def _round(**seconds: float) -> RoundCost:
    pieces = {
        "losses": 0.0,
        "backward": 0.0,
        "optimizer": 0.2,
        "suppression": 0.1,
        "transfer": 0.1,
        "average_precision": 0.4,
    }
    return RoundCost(**{**pieces, "rest": 0.0, **seconds})


def test_useful_operations_are_those_of_the_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch.nn import functional

    from mapopt.detectors import TinyNetwork

    counted = []
    convolve, multiply = functional.conv2d, torch.bmm

    def count_convolution(maps: Any, kernel: Any, *given: Any, **settings: Any) -> Any:
        out = convolve(maps, kernel, *given, **settings)
        counted.append(2 * out.numel() * kernel[0].numel())
        return out

    def count_product(first: Any, second: Any) -> Any:
        counted.append(2 * first.shape[1] * second.numel())
        return multiply(first, second)

    monkeypatch.setattr(functional, "conv2d", count_convolution)
    monkeypatch.setattr(torch, "bmm", count_product)
    network = TinyNetwork(4)
    network.forward_grouped(network.draw(0)[None], torch.zeros(1, 5, 3, 40, 64))
    first, *others = counted
    assert len(others) == 4
    assert useful_operations(network.layers, (40, 64), 5) == 2 * first + 3 * sum(others)


@pytest.mark.slow
def test_the_arithmetic_of_a_step_is_measured() -> None:
    import torch

    row = measure_arithmetic(2, 1, torch.device("cpu"))
    assert row.operations == 130_830_336
    assert 0.02 < row.fraction < 2
    assert 1e9 < row.product < 1e13
    assert row.fraction == pytest.approx(row.operations / row.seconds / row.product, rel=0.5)


@pytest.mark.slow
def test_a_fleet_is_measured() -> None:
    import torch

    cost = fleet.measure_fleet(2, 1, 1, torch.device("cpu"))
    assert cost.lane_steps_per_second == pytest.approx(2 / cost.seconds_per_step)


@pytest.mark.slow
def test_the_pieces_of_a_round_add_up() -> None:
    import time

    import torch

    began = time.process_time()
    cost = measure_round(2, 1, torch.device("cpu"))
    assert min(asdict(cost).values()) > 0
    assert cost.total < time.process_time() - began
    assert cost.forward > cost.network, "40 steps of 16 images against 128 images"
    assert 0 < cost.evaluation_fraction < 1
