"""AP of few images: whose first calls are counted, how, and what the table compares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mapopt.cli import main
from mapopt.experiments.bench import average_precision as bench
from mapopt.experiments.bench import few_images
from mapopt.experiments.bench.few_images import CALLS, FEW, CallsCost, calls_table, few_images_evaluators, measure_calls
from mapopt.experiments.bench.peers import first_calls
from mapopt.experiments.bench.peers.average_precision import Peer
from mapopt.experiments.bench.peers.ours import ours
from mapopt.experiments.bench.peers.sets import SetSize, make_set
from mapopt.experiments.bench.peers.workers import PeerError

SIZE = SetSize(images=3, categories=2, objects=4, detections=10)
QUICK = Peer("quick", "numpy", (), len, len)
SLOW = replace(QUICK, name="slow")
BROKEN = replace(QUICK, name="broken")
ABSENT = replace(QUICK, name="absent", modules=("nobody_at_all",))
SECONDS = {"quick": 1.0, "slow": 40.0, "mapopt (numpy)": 0.5, "mapopt (numba)": 8.0, "mapopt (auto)": 0.25}


class Turns:
    """Runs nobody: the turns of an evaluator take its time, then twice and four times as long."""

    def __init__(self) -> None:
        self.log: list[tuple[str, tuple[int, ...]]] = []

    def __call__(self, peer: Peer, size: SetSize, seed: int, calls: Sequence[int]) -> tuple[float, ...]:
        self.log.append((peer.name, tuple(calls)))
        if peer.name == "broken":
            raise PeerError("ValueError: it does not work")
        factor = 2.0 ** (len([name for name, _ in self.log if name == peer.name]) - 2)
        seconds = [SECONDS[peer.name] * factor * number for number in calls]
        return tuple(seconds[:2] if peer.name == "slow" else seconds)


def measured(*peers: Peer, repeats: int = 3) -> dict[str, CallsCost]:
    return {cost.evaluator: cost for cost in measure_calls(SIZE, peers, repeats=repeats, start=Turns())}


def test_evaluators_take_turns_and_the_first_turn_makes_one_call_that_does_not_count() -> None:
    turns = Turns()
    measure_calls(SIZE, [QUICK, ours("numba")], repeats=2, start=turns)
    first = [("quick", CALLS[:1]), ("mapopt (numba)", CALLS[:1])]
    assert turns.log == first + [("quick", CALLS), ("mapopt (numba)", CALLS)] * 2


def test_who_takes_much_longer_than_the_fastest_other_package_makes_one_call_a_turn() -> None:
    turns = Turns()
    measure_calls(SIZE, [SLOW, QUICK, ours("numba")], repeats=1, start=turns)
    assert turns.log[3:] == [("slow", CALLS[:1]), ("quick", CALLS), ("mapopt (numba)", CALLS)]


def test_the_median_turn_counts() -> None:
    assert measured(QUICK)["quick"].seconds == (2.0, 20.0, 200.0)


def test_one_that_fails_or_is_missing_says_so_and_the_others_are_measured() -> None:
    costs = measured(BROKEN, ABSENT, QUICK)
    assert costs["broken"].problem == "ValueError: it does not work"
    assert costs["absent"].problem == "not installed: pip install 'mapopt[peers]'"
    assert costs["broken"].seconds == costs["absent"].seconds == ()
    assert costs["quick"].seconds


def lines_of(*peers: Peer) -> list[list[str]]:
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(calls_table(list(measured(*peers, repeats=1).values())))
    return [line.split() for line in console.export_text().splitlines() if line.split()[:1] == ["3"]]


def test_a_row_gives_ours_as_ratios_to_the_fastest_other_package_that_made_so_many_calls() -> None:
    assert lines_of(SLOW, QUICK, ours("numpy"), ours("auto")) == [
        ["3", "2", "1", "quick", "1000", "0.50", "–", "0.25"],
        ["3", "2", "10", "quick", "10000", "0.50", "–", "0.25"],
        ["3", "2", "100", "quick", "100000", "0.50", "–", "0.25"],
    ]
    assert lines_of(SLOW, ours("numpy"))[1:] == [
        ["3", "2", "10", "slow", "400000", "0.01", "–", "–"],
        ["3", "2", "100", "–", "–", "50000", "ms", "–", "–"],
    ]


def test_all_three_backends_and_the_sets_of_few_categories_are_measured() -> None:
    names = [peer.name for peer in few_images_evaluators(peers=False)]
    assert names == ["mapopt (numpy)", "mapopt (numba)", "mapopt (auto)", "pycocotools"]
    assert {"hotcoco", "vernier"} <= {peer.name for peer in few_images_evaluators(peers=True)}
    assert {(size.images, size.categories) for size in FEW} == {(i, k) for i in (64, 512) for k in (1, 3, 20)}


def test_calls_are_counted_from_arrays_on_and_sums_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    peer = replace(QUICK, convert=lambda boxes: made.append("convert"), evaluate=lambda _: made.append("evaluate"))
    ticks = iter(np.arange(10.0))
    monkeypatch.setattr(first_calls, "clock", lambda: lambda: next(ticks))
    boxes = make_set(SIZE)
    assert first_calls.count_calls(peer, boxes, (1, 3)) == (1.0, 2.0)
    assert made == ["convert", "evaluate"] * 3


def test_more_calls_than_patience_allows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(np.arange(0.0, 100.0, 2.0))
    monkeypatch.setattr(first_calls, "clock", lambda: lambda: next(ticks))
    peer = replace(QUICK, convert=lambda boxes: boxes, evaluate=lambda _: None)
    assert first_calls.count_calls(peer, make_set(SIZE), (1, 10, 100)) == (2.0,)


def test_the_command_prints_one_table_and_writes_every_evaluator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(size: SetSize, peers: Sequence[Peer], *, repeats: int, seed: int) -> list[CallsCost]:
        assert (repeats, seed) == (2, 7)
        return measure_calls(size, [ours("numpy"), QUICK], repeats=1, start=Turns())

    monkeypatch.setattr(bench, "measure_calls", fake)
    words = ["bench", "ap", "--sets", "few", "--repeats", "2", "--seed", "7", "--out", str(tmp_path / "new")]
    assert main(words) == 0
    assert capsys.readouterr().out.count("0.50") == len(FEW) * len(CALLS)
    written = json.loads((tmp_path / "new" / "ap.json").read_text())
    assert written["rows"] == []
    assert [row["seconds"] for row in written["calls"]] == [[0.5, 5.0, 50.0], [1.0, 10.0, 100.0]] * len(FEW)
    assert not (tmp_path / "new" / "ap.png").exists()


@pytest.mark.slow
def test_first_calls_are_made_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_images, "CALLS", (1, 2))
    (cost,) = measure_calls(SIZE, [ours("numpy")], repeats=1)
    assert len(cost.seconds) == 2
    assert 0 < cost.seconds[0] < cost.seconds[1]
    with pytest.raises(PeerError, match="has no len"):
        first_calls.first_calls(replace(QUICK, modules=("numpy",)), SIZE, 0, (1,))
