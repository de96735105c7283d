"""Engines are chosen for speed, and a missing one is no obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from mapopt import compiling
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, engines, evaluate, evaluate_lanes, match

TRUTH = GroundTruth([[0, 0, 10, 10]], [1], [1])
LANE = Detections([[0, 0, 10, 8]], [0.5], [1], [1])


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch) -> None:
    monkeypatch.setattr(engines, "_choice", engines._Choice())
    monkeypatch.setattr(compiling, "_missing", {})


@pytest.mark.parametrize("state", engines.LOADING_SECONDS)
def test_compiled_kernels_pay_when_numpy_has_cost_a_multiple_of_loading_them(state: compiling.Loading) -> None:
    cost = engines.PATIENCE * engines.LOADING_SECONDS[state]
    assert not engines.pays(0.0, state)
    assert not engines.pays(cost, state)
    assert engines.pays(1.01 * cost, state)


def test_the_cheaper_loading_is_the_earlier_it_pays() -> None:
    assert list(engines.LOADING_SECONDS) == sorted(engines.LOADING_SECONDS, key=engines.LOADING_SECONDS.__getitem__)
    assert engines.pays(0.1, "in use")
    assert not engines.pays(0.1, "read")
    assert engines.pays(0.5, "read")
    assert not engines.pays(0.5, "compile")


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
@pytest.mark.parametrize(("spent", "state", "changes"), [(0.1, "in use", True), (0.1, "read", False)])
def test_auto_asks_what_loading_costs_here(monkeypatch, spent: float, state: str, changes: bool) -> None:
    monkeypatch.setattr(engines, "loading", lambda module, function: state)
    engines._choice.spent = spent
    assert (engines.engine_for("auto") is not engines.NUMPY) == changes
    assert engines.engine_for("numpy") is engines.NUMPY


@pytest.mark.parametrize(
    ("kept", "age", "started", "expected"),
    [
        (None, 0, True, "compile"),
        ("made.other-3.o", 1, True, "compile"),
        ("made.slow-3.o", -1, True, "compile"),
        ("made.slow-3.o", 1, False, "read"),
        ("made.slow-3.o", 1, True, "in use"),
    ],
)
@pytest.mark.parametrize("chosen", [False, True])
def test_what_loading_costs_is_read_off_the_disk_and_the_process(
    tmp_path, monkeypatch, kept: str | None, age: int, started: bool, expected: str, chosen: bool
) -> None:
    (tmp_path / "made.py").write_text("raise RuntimeError('imported')")
    folder = tmp_path / ("cache" if chosen else "__pycache__")
    folder.mkdir(parents=True)
    if kept:
        (folder / kept).touch()
        written = (tmp_path / "made.py").stat().st_mtime
        os.utime(folder / kept, (written + age, written + age))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_STARTED", "sys" if started else "nobody_at_all")
    compiling._on_disk.cache_clear()
    assert compiling.loading("made", "slow") == expected
    compiling._on_disk.cache_clear()


def test_auto_stays_with_numpy_where_numba_is_missing(monkeypatch) -> None:
    expected = evaluate(TRUTH, LANE).ap
    monkeypatch.setitem(sys.modules, "mapopt.metrics.kernels", None)
    monkeypatch.setattr(engines, "PATIENCE", -1.0)
    assert evaluate(TRUTH, LANE).ap == expected
    assert engines.engine_for("auto") is engines.NUMPY


def test_a_missing_numba_that_was_asked_for_is_an_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mapopt.metrics.kernels", None)
    with pytest.raises(
        ConfigError, match=r"backend 'numba' cannot be loaded .*: install numba, or use backend 'numpy'"
    ):
        evaluate(TRUTH, LANE, backend="numba")


def test_importing_metrics_imports_numpy_only() -> None:
    script = (
        "import sys, mapopt.metrics as m;"
        "m.evaluate(m.GroundTruth([[0, 0, 1, 1]], [0], [0]), m.Detections([[0, 0, 1, 1]], [1.0], [0], [0]));"
        "print([name for name in ('torch', 'numba', 'pycocotools', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_kernels_take_boxes_whatever_their_memory() -> None:
    boxes = np.asfortranarray(np.array([[0.0, 0.0, 10.0, 8.0]] * 2))
    lane = Detections(boxes, [0.5, 0.25], [1, 1], [1, 1])
    for mode in ("full", "reward"):
        expected = evaluate(TRUTH, lane, backend="numpy", mode=mode).precision
        reports = [
            evaluate(TRUTH, lane, backend="numba", mode=mode),
            evaluate_lanes(TRUTH, [lane, LANE], backend="numba", mode=mode)[0],
            evaluate_lanes([TRUTH, TRUTH], [LANE, lane], backend="numba", mode=mode)[1],
        ]
        for report in reports:
            np.testing.assert_array_equal(report.precision, expected)


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_pairs_beyond_the_room_that_was_made_for_them_are_not_lost() -> None:
    crowd = GroundTruth([[0, 0, 10, 10]], [1], [1], crowd=[True])
    count = 300
    lane = Detections([[0, 0, 10, 10]] * count, np.linspace(1, 0.5, count), [1] * count, [1] * count)
    tables = [match(crowd, lane, limit=count, backend=backend) for backend in ("numpy", "numba")]
    assert (tables[0].truth == 0).all()
    np.testing.assert_array_equal(tables[0].truth, tables[1].truth)


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_kernels_that_were_compiled_once_are_loaded_without_numba() -> None:
    script = (
        "import sys, mapopt.metrics as m;"
        "m.evaluate(m.GroundTruth([[0, 0, 1, 1]], [0], [0]), m.Detections([[0, 0, 1, 1]], [1.0], [0], [0]),"
        " backend='numba');"
        "print('numba' in sys.modules)"
    )
    evaluate(TRUTH, LANE, backend="numba")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
