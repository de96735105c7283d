"""Parts of somebody's own, in a module that only a test can import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

OPTIMIZERS = '''
import torch
from mapopt.training import Range


class Lion:
    """Steps by the sign of the momentum, with a knob of its own."""

    knobs = {"sharpness": Range(1.0, 100.0, log=True)}
    sharpness = 10.0

    def __init__(self, weights, decay, scale=1.0):
        self.scale = scale
        self.state = {"mean": torch.zeros_like(weights, requires_grad=False)}

    @torch.no_grad()
    def update(self, weights, gradient, knobs, active):
        rate, momentum, sharpness = (knobs[name][:, None] for name in ("lr", "momentum", "sharpness"))
        mean = self.state["mean"]
        mean.copy_(torch.where(active[:, None], mean * momentum + gradient * (1 - momentum), mean))
        step = torch.where(active[:, None], self.scale * rate * torch.tanh(sharpness * mean), 0.0)
        weights -= step
        return step.norm(dim=1)
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module and returns its name; nothing of it stays."""
    monkeypatch.syspath_prepend(tmp_path / "modules")
    names: list[str] = []

    def write(source: str) -> str:
        (tmp_path / "modules").mkdir(exist_ok=True)
        name = f"own_{abs(hash(str(tmp_path)))}_{len(names)}"
        (tmp_path / "modules" / f"{name}.py").write_text(source)
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def own_optimizer(own_module: Callable[[str], str]) -> str:
    """Names an own optimizer with a knob `sharpness`."""
    return f"{own_module(OPTIMIZERS)}:Lion"
