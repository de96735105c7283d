"""What a benchmark says of its length: the parts it has, longer for more of each, and a line after every part."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from mapopt import waiting
from mapopt.cli import main
from mapopt.experiments.bench.expected import (
    command_line_seconds,
    environments_seconds,
    evaluators_seconds,
    fleet_seconds,
    losses_seconds,
)
from mapopt.experiments.bench.settings import (
    CommandLineSettings,
    EnvironmentSettings,
    EvaluatorSettings,
    FleetSettings,
    LossSettings,
)

MORE: list[tuple[Any, Any, dict[str, Any]]] = [
    (losses_seconds, LossSettings(members=("ap",)), {"members": ("ap", "focal")}),
    (losses_seconds, LossSettings(parts=("fidelity",)), {"lists": 400}),
    (losses_seconds, LossSettings(parts=("descent",)), {"steps": 400}),
    (losses_seconds, LossSettings(parts=("time",)), {"sizes": (1000, 2000, 3000, 4000, 5000, 6000)}),
    (evaluators_seconds, EvaluatorSettings(peers=False), {"peers": True}),
    (evaluators_seconds, EvaluatorSettings(sets=("small",)), {"repeats": 9}),
    (fleet_seconds, FleetSettings(), {"lanes": (1, 4, 32)}),
    (environments_seconds, EnvironmentSettings(sizes=(48,)), {"sizes": (96,)}),
    (environments_seconds, EnvironmentSettings(), {"steps": 9000}),
]


@pytest.mark.parametrize(("seconds", "settings", "more"), MORE)
def test_more_of_anything_takes_longer(seconds: Any, settings: Any, more: dict[str, Any]) -> None:
    few, many = seconds(settings), seconds(replace(settings, **more))
    assert 1.0 < sum(few.values()) < sum(many.values())


def test_parts_are_those_that_are_asked_for() -> None:
    assert list(losses_seconds(LossSettings(parts=("mass", "time")))) == ["time", "mass"], "as they come"
    assert list(evaluators_seconds(EvaluatorSettings(sets=("coco", "small", "coco")))) == ["coco", "small"]
    assert list(environments_seconds(EnvironmentSettings(sizes=(32,), workers=0, steps=0))) == ["32 px"]
    assert list(fleet_seconds(FleetSettings(numbers=0))) == ["steps", "idle", "rounds", "arithmetic"]
    assert command_line_seconds(CommandLineSettings(repeats=5)) == 5 * command_line_seconds(
        CommandLineSettings(repeats=1)
    )


def test_a_benchmark_says_at_its_start_what_comes_and_after_each_part_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A part that takes long, as on a busy machine, gives signs of life; they are no matter of this test.
    monkeypatch.setattr(waiting, "EVERY", math.inf)
    flags = ["--members", "ap", "--sizes", "1000", "--positives", "10", "--repeats", "1", "--lists", "4"]
    assert main(["bench", "losses", "--parts", "time", "fidelity", "mass", *flags]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "bench" in line or "takes" in line]
    assert re.fullmatch(r"this takes about \S+ s: time, fidelity, mass", lines[0])
    said = [line for line in lines if re.match(r"bench losses: \d of 3 parts, .* gone(, about .* left)?$", line)]
    assert [line[14] for line in said] == ["1", "2"]
