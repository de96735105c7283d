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

LOSSES = '''
import torch
from mapopt.losses import ListLoss
from mapopt.training import Range


class Hinge(ListLoss):
    """Positives above negatives by a margin, which is a knob."""

    knobs = {"margin": Range(0.0, 5.0)}
    error_rate = False

    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def evaluate(self, lists):
        count = lists.count.clamp(min=1)
        mean = (lists.scores * lists.positive).sum(-1) / count
        gaps = torch.relu(lists.scores - mean[:, None] + self.per_list("margin", lists)) * lists.negative
        return {"rank": gaps.sum(-1) / lists.negative.sum(-1).clamp(min=1)}


def distance(scores, labels, where, power=2.0):
    return ((scores.sigmoid() - labels).abs() ** power).mean()


distance.pointwise = True
distance.knobs = {"power": Range(1.0, 4.0)}
'''

DETECTORS = '''
from mapopt.detectors import DenseDetector, DenseLoss
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.training import Range


class Colored(DenseDetector):
    """The tiny detector on images that a knob makes brighter."""

    supports_lanes = True
    size_multiple = 8
    knobs = {"brightness": Range(0.5, 2.0, log=True)}
    brightness = 1.0

    def __init__(self, request, gain=1.0):
        network, loss = TinyNetwork(request.classes), DenseLoss(request.objective)
        super().__init__(network, loss, lanes=request.lanes, size=request.size, device=request.device)
        self._gain = gain

    def _lit(self, images, knobs):
        return images * (self._gain * knobs["brightness"])[:, None, None, None, None]

    def losses(self, images, targets, knobs, *, seed):
        return super().losses(self._lit(images, knobs), targets, knobs, seed=seed)

    def detect(self, images, knobs):
        return super().detect(self._lit(images, knobs), knobs)

    def candidates(self, images, knobs):
        return super().candidates(self._lit(images, knobs), knobs)
'''

CONTROLLERS = '''
from dataclasses import dataclass
from mapopt.training import Decision


@dataclass(frozen=True)
class Climber:
    """Turns every own knob up while val AP rises, and lowers the learning rate where it does not."""

    factor: float = 1.1

    def decide(self, history, task, budget):
        knobs = history[-1].knobs if history else task.knobs
        rises = len(history) > 1 and history[-1].val.ap > history[-2].val.ap
        names = list(task.knobs.own) if rises else ["lr"]
        turned = {name: task.ranges[name].clip(knobs.get(name) * self.factor) for name in names}
        return Decision(knobs=knobs.replace(**turned), ramp_from=knobs)
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


@pytest.fixture
def own_parts(own_module: Callable[[str], str]) -> dict[str, str]:
    """Names own parts, each with a knob but the controller: hinge, distance, Colored, Lion and Climber."""
    losses, detectors, optimizers, controllers = map(own_module, (LOSSES, DETECTORS, OPTIMIZERS, CONTROLLERS))
    return {
        "hinge": f"{losses}:Hinge",
        "distance": f"{losses}:distance",
        "colored": f"{detectors}:Colored",
        "lion": f"{optimizers}:Lion",
        "climber": f"{controllers}:Climber",
    }
