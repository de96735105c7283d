"""`mapopt bench ap`: who takes turns with whom, what a row says of it, and what is printed and written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mapopt.cli import main
from mapopt.drawing.benchmark_figures import draw_times
from mapopt.experiments.bench import average_precision as bench
from mapopt.experiments.bench.average_precision_tables import table, times_page
from mapopt.experiments.bench.evaluator_cost import EvaluatorCost
from mapopt.experiments.bench.peers.average_precision import PYCOCOTOOLS, Peer
from mapopt.experiments.bench.peers.ours import ours
from mapopt.experiments.bench.peers.sets import SETS, SetSize
from mapopt.experiments.bench.peers.workers import PeerError, Turn

MEASURE = bench.measure

QUICK = Peer("quick", "numpy", (), len, len)
SLOW = replace(QUICK, name="slow")
BROKEN = replace(QUICK, name="broken")
ABSENT = replace(QUICK, name="absent", modules=("nobody_at_all",))
MANY = replace(QUICK, name="many", evaluations=10, whole=False)


class Fake:
    """Runs nobody: every turn is what it was told."""

    log: list[tuple[str, float]] = []
    closed: list[str] = []

    def __init__(self, peer: Peer, size: SetSize, seed: int) -> None:
        self.name = peer.name
        self.turns = self._turns()

    def run(self, seconds: float) -> Turn:
        self.log.append((self.name, seconds))
        if self.name == "broken":
            raise PeerError("ValueError: it does not work")
        return next(self.turns)

    def close(self) -> None:
        self.closed.append(self.name)

    def _turns(self) -> Iterator[Turn]:
        base = {"pycocotools": 1.0, "slow": 20.0, "mapopt (numpy)": 0.5}.get(self.name, 0.1)
        stats = np.full(12, 0.5)
        if self.name == "quick":
            stats[3] += 0.25
            stats[4] = math.nan
        for factor in (3, 1, 2):
            yield Turn(base * factor, base, stats, 1e6 * factor)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Fake.log.clear()
    Fake.closed.clear()


def measure(*peers: Peer, repeats: int = 2) -> dict[str, EvaluatorCost]:
    return {row.evaluator: row for row in MEASURE("small", peers, repeats=repeats, start=Fake)}


def test_evaluators_take_turns_and_all_are_closed() -> None:
    measure(QUICK, PYCOCOTOOLS)
    first, later = ("quick", 0.0), ("quick", bench.TURN)
    assert Fake.log[:3] == [first, ("pycocotools", 0.0), later]
    assert [name for name, _ in Fake.log] == ["quick", "pycocotools"] * 3
    assert sorted(Fake.closed) == ["pycocotools", "quick"]


def test_the_fastest_turn_counts_and_memory_is_that_of_the_first() -> None:
    row = measure(QUICK, PYCOCOTOOLS)["quick"]
    assert (row.convert, row.evaluate, row.memory) == (0.1, 0.1, 3e6)
    assert row.total == 0.2


def test_who_is_slow_gets_fewer_turns() -> None:
    measure(SLOW, QUICK)
    assert [name for name, _ in Fake.log].count("slow") == 1
    assert [name for name, _ in Fake.log].count("quick") == 3


def test_the_largest_difference_is_among_the_numbers_that_are_measured() -> None:
    rows = measure(QUICK, PYCOCOTOOLS)
    assert rows["quick"].difference == 0.25
    assert rows["pycocotools"].difference == 0
    assert measure(QUICK)["quick"].difference is None


def test_times_are_those_of_one_evaluation_where_a_call_makes_several() -> None:
    assert measure(MANY)["many"].total == pytest.approx(0.02)


def test_one_that_fails_or_is_missing_says_so_and_the_others_are_measured() -> None:
    rows = measure(BROKEN, ABSENT, QUICK)
    assert rows["broken"].problem == "ValueError: it does not work"
    assert rows["absent"].problem == "not installed: pip install 'mapopt[peers]'"
    assert rows["quick"].total is not None
    assert rows["broken"].total is None
    assert [name for name, _ in Fake.log].count("broken") == 1
    assert "absent" not in Fake.closed


def test_workers_end_when_measuring_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Fake, seconds: float) -> Turn:
        raise KeyboardInterrupt

    monkeypatch.setattr(Fake, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(QUICK)
    assert Fake.closed == ["quick"]


def printed(*rows: EvaluatorCost) -> str:
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(rows, SETS["small"]))
    return console.export_text()


def test_the_table_has_a_line_for_each_and_says_how_ours_stands() -> None:
    rows = measure(ours("numpy"), PYCOCOTOOLS, SLOW, QUICK, BROKEN, ABSENT, MANY)
    text = printed(*rows.values())
    lines = {name: line for line in text.splitlines() for name in rows if line.startswith(name)}
    assert len(lines) == len(rows)
    assert "absent: not installed: pip install 'mapopt[peers]' " in lines["absent"]
    assert "broken: ValueError: it does not work " in lines["broken"]
    assert lines["slow"].split()[4:7] == ["80000", "80.00", "0.025"]
    assert lines["pycocotools"].split()[4:7] == ["2000", "2.00", "1"]
    assert "none" in lines["pycocotools"]
    assert "2e-01" in lines["quick"]
    assert "ours is 2 times faster than pycocotools; quick, the fastest of the others, takes 0.20 times as long" in text


def test_a_table_without_anything_to_compare_with_says_nothing() -> None:
    assert "ours is" not in printed(*measure(QUICK, ABSENT).values())


def test_the_figure_shows_those_who_measure_everything() -> None:
    rows = measure(ours("numpy"), PYCOCOTOOLS, QUICK, MANY, ABSENT)
    axes = draw_times(times_page(list(rows.values()))).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mapopt (numpy)", "pycocotools", "quick"]
    assert [line.get_xdata()[0] for line in axes.lines] == [1000, 2000, 200]


def test_peers_are_left_out_when_asked_to_but_never_pycocotools() -> None:
    alone = {peer.name for peer in bench.evaluators("coco", peers=False)}
    assert {peer.name for peer in bench.evaluators("coco", peers=True)} - alone >= {"hotcoco", "vernier"}
    assert "pycocotools" in alone
    assert any("lanes" in peer.name for peer in bench.evaluators("small", peers=False))


def test_the_command_prints_a_table_a_set_and_writes_what_it_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fake(name: str, peers: list[Peer], *, repeats: int, seed: int) -> list[EvaluatorCost]:
        asked.append((name, repeats, seed))
        return list(measure(ours("numpy"), PYCOCOTOOLS, ABSENT).values())

    monkeypatch.setattr(bench, "measure", fake)
    words = ["bench", "ap", "--sets", "medium", "small", "medium", "--repeats", "3", "--seed", "7", "--peers", "False"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    assert asked == [("medium", 3, 7), ("small", 3, 7)]
    assert capsys.readouterr().out.count("ours is 2 times faster") == 2
    written = json.loads((tmp_path / "new" / "ap.json").read_text())
    assert written["seed"] == 7
    assert [row["evaluator"] for row in written["rows"]] == ["mapopt (numpy)", "pycocotools", "absent"] * 2
    assert (tmp_path / "new" / "ap.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_small_set_is_measured_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "small", SetSize(images=10, categories=3, objects=4, detections=10))
    rows = bench.measure("small", [ours("numpy"), PYCOCOTOOLS], repeats=1)
    assert [row.difference for row in rows] == [0, 0]
    assert all(row.total and row.version for row in rows)
