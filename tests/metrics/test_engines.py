"""Engines are chosen for speed, and a missing one is no obstacle."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from mapopt import compiling
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, engines, evaluate, evaluate_lanes

TRUTH = GroundTruth([[0, 0, 10, 10]], [1], [1])
LANE = Detections([[0, 0, 10, 8]], [0.5], [1], [1])


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch) -> None:
    monkeypatch.setattr(engines, "_choice", engines._Choice())
    monkeypatch.setattr(compiling, "_missing", {})


@pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")
def test_auto_compiles_when_numpy_has_cost_enough(monkeypatch) -> None:
    evaluate(TRUTH, LANE)
    assert engines.engine_for("auto") is engines.NUMPY
    monkeypatch.setattr(engines, "PATIENCE", 0.0)
    assert engines.engine_for("auto") is not engines.NUMPY
    assert engines.engine_for("numpy") is engines.NUMPY


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
def test_kernels_are_compiled_once_whatever_the_memory_of_the_input() -> None:
    from mapopt.metrics import kernels

    boxes = np.asfortranarray(np.array([[0.0, 0.0, 10.0, 8.0]] * 2))
    lane = Detections(boxes, [0.5, 0.25], [1, 1], [1, 1])
    for mode in ("full", "reward"):
        evaluate(TRUTH, lane, backend="numba", mode=mode)
        evaluate_lanes(TRUTH, [lane, LANE], backend="numba", mode=mode)
        evaluate_lanes([TRUTH, TRUTH], [lane, LANE], backend="numba", mode=mode)
    assert len(kernels._match.signatures) == 1
