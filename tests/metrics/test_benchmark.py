"""The benchmark runs, and notices wrong bits."""

from __future__ import annotations

import dataclasses

from mapopt.metrics import benchmark, evaluate


def test_every_engine_and_mode_is_measured_and_has_pycocotools_bits() -> None:
    rows = benchmark.measure_engines(6, categories=3, repeats=1, engines=["numpy"])
    assert [(row.engine, row.mode) for row in rows] == [("numpy", "full"), ("numpy", "reward")]
    for row in rows:
        assert row.same_bits
        assert row.images == 6
        assert row.detections == len(benchmark.random_set(6, 3)[1])
        assert row.seconds > 0
        assert row.pycocotools_seconds > 0


def test_one_wrong_bit_is_noticed() -> None:
    report = evaluate(*benchmark.random_set(6, 3))
    assert benchmark._same(report, report)
    wrong = report.recall.copy()
    wrong[0, 0, 0, 0] += 1e-16
    assert not benchmark._same(dataclasses.replace(report, recall=wrong), report)
