"""What the tests of cases share: the input of a case, what `mapopt evaluate` prints of it, and pycocotools' numbers."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapopt.cli import main

HERE = Path(__file__).resolve().parent
Evaluated = Callable[..., tuple[list[float], str]]


def _numbers(text: str) -> list[float]:
    return [float(line.rsplit("=", 1)[1]) for line in text.splitlines() if "maxDets" in line]


@pytest.fixture
def evaluated(capsys: pytest.CaptureFixture[str]) -> Evaluated:
    """Runs `mapopt evaluate` on two files; returns the twelve numbers, and all that is printed or said as an error."""

    def run(truth: Path, results: Path, *flags: object) -> tuple[list[float], str]:
        words = ["evaluate", "--truth", truth, "--results", results, "--resamples", "0", *flags]
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        if status:
            assert status == 2
            assert printed.err.count("\n") == 1, "one line"
            return [], printed.err
        return _numbers(printed.out), printed.out

    return run


@pytest.fixture
def oracle() -> Callable[..., list[float]]:
    """Returns pycocotools' twelve numbers, of files or of what is in them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def stats(truth: Path | dict[str, Any], results: Path, prepare: Callable[[Any], None] | None = None) -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO()
            known.dataset = json.loads(truth.read_text()) if isinstance(truth, Path) else truth
            known.createIndex()
            evaluation = COCOeval(known, known.loadRes(json.loads(results.read_text())), "bbox")
            if prepare is not None:
                prepare(evaluation.params)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [float(value) for value in evaluation.stats]

    return stats
