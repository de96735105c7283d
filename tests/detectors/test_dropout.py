"""Channels are left out of losses that are trained on, by a seed, and of nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mapopt.collectives import Processes
from mapopt.detectors.dropout import ChannelDropout, dropping
from mapopt.detectors.interface import Detector, Targets
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.registry import build_detector
from mapopt.errors import ConfigError
from mapopt.registry import Choice
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs

SIZE = (64, 64)
KNOBS = stack_knobs([Knobs()], torch.device("cpu"))
NAMES = ["nano", "resnet18", "fcos_small", "ssdlite", "faster_rcnn_resnet18"]


def built(name: str, dropout: float | None) -> Detector:
    settings = {} if dropout is None else {"dropout": dropout}
    own = Objective() if name in ("nano", "resnet18") else Objective(loss=OWN_LOSS)
    detector = build_detector(Choice(name=name, settings=settings), own, classes=2, size=SIZE)
    detector.initialize(0, 5)
    return detector


def images() -> Tensor:
    return torch.rand((1, 2, 3, *SIZE), generator=torch.Generator().manual_seed(1)) * 255


def losses(detector: Detector, seed: int) -> Tensor:
    box = torch.tensor([[[8.0, 8.0, 40.0, 44.0]], [[20.0, 4.0, 60.0, 30.0]]])[None]
    targets = Targets(box, torch.tensor([[[0], [1]]]), torch.zeros((1, 2, 1), dtype=torch.bool))
    return torch.stack(list(detector.losses(images(), targets, KNOBS, seed=seed).values())).sum()


def test_whole_channels_are_left_out() -> None:
    layer = ChannelDropout(0.3)
    module = torch.nn.Module()
    module.dropout = layer
    maps = torch.ones(64, 100, 3, 2)
    assert layer(maps) is maps
    with dropping(module, seed=3):
        dropped = layer(maps)
        again = layer(maps)
        with torch.no_grad():
            assert layer(maps) is maps, "what is only measured"
    assert not torch.equal(dropped, again), "every level has its own"
    assert torch.equal(dropped, dropped[..., :1, :1].expand_as(dropped))
    left_out = dropped[..., 0, 0] == 0
    assert left_out.float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(dropped[..., 0, 0][~left_out], torch.full((int((~left_out).sum()),), 1 / 0.7))
    assert layer(maps) is maps
    parts = []
    for index in range(4):
        with dropping(module, seed=3, processes=Processes(index, 4)):
            parts.append(layer(maps[:16]))
    assert torch.equal(torch.cat(parts), dropped), "as in one process"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_function_of_the_seed_and_leaves_detections_alone(name: str) -> None:
    without, none, detector = built(name, None), built(name, 0.0), built(name, 0.5)
    assert detector.parts() == without.parts()
    plain, first = losses(without, 7), losses(detector, 7)
    assert torch.equal(losses(none, 7), plain)
    assert first.item() != pytest.approx(plain.item(), rel=1e-4)
    assert torch.equal(losses(detector, 7), first)
    assert not torch.equal(losses(detector, 8), first)
    assert torch.equal(losses(copy.deepcopy(detector), 7), first)
    with torch.no_grad():
        assert torch.equal(losses(detector, 7), losses(without, 7)), "a loss that is only measured"
    fresh = [built(name, dropout).detect(images(), KNOBS) for dropout in (None, 0.5)]
    assert torch.equal(fresh[0].scores, fresh[1].scores)
    assert torch.equal(fresh[0].boxes, fresh[1].boxes)


@pytest.mark.parametrize(
    ("name", "dropout", "message"),
    [
        ("tiny", 0.1, "detector_settings dropout with detector 'tiny', which has none: leave it out"),
        ("nano", 1.0, r"detector_settings dropout is 1\.0 with detector 'nano': expected a number from 0 to 0\.9"),
        ("fcos", -0.1, r"dropout is -0\.1 with detector 'fcos': expected a number from 0 to 0\.9"),
    ],
)
def test_what_cannot_be(name: str, dropout: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_detector(Choice(name=name, settings={"dropout": dropout}), Objective(), classes=2, size=SIZE)
