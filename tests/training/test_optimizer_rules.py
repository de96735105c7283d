"""Every optimizer in the trainer: determined, copied from lane to lane, and evaluated where it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.registry import build_detector
from mapopt.errors import ConfigError
from mapopt.registry import Choice
from mapopt.training import OPTIMIZERS, Fleet, Knobs, Recipe, Task, Trainer, make_optimizer
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.evaluated import EVALUATED
from mapopt.training.inference import LoadedDetector
from mapopt.training.optimizers.muon import RowMuon
from mapopt.training.optimizers.registry import default_lr
from mapopt.training.optimizers.sgd import RowSGD
from mapopt.training.optimizers.table import OPTIMIZER_TABLE
from mapopt.training.start import start_from

MakeTask = Callable[..., Task]
SETTINGS: dict[str, dict[str, object]] = {
    "dog": {"reps_rel": 1e-3},  # its first steps are too short to be seen
    "prodigy": {"d0": 1e-3},
}
AVERAGING = [name for name, entry in OPTIMIZER_TABLE.items() if entry.averages]


def fleet_of(name: str, make_task: MakeTask, seeds: list[int]) -> Fleet:
    fleet = Fleet(make_task(optimizer=name, optimizer_settings=SETTINGS.get(name, {})), seeds)
    fleet.set_knobs([Knobs(lr=OPTIMIZER_TABLE[name].default_lr / (1 + seed % 3)) for seed in seeds])
    return fleet


def tensors_of(fleet: Fleet, lane: int) -> dict[str, torch.Tensor]:
    return fleet.snapshot(lane).tensors


def check_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_is_the_same_among_others_in_parts_and_in_another_place(name: str, make_task: MakeTask) -> None:
    many, pair = fleet_of(name, make_task, [7, 9, 1, 4]), fleet_of(name, make_task, [4, 9])
    before = tensors_of(pair, 0)["weights"]
    many.train(16)
    for _ in range(2):
        pair.train(8, active=[True, True])
        pair.evaluate("val")
    check_same(tensors_of(many, 3), tensors_of(pair, 0))
    assert not torch.equal(before, tensors_of(pair, 0)["weights"])
    other = fleet_of(name, make_task, [2, 3])
    other.train(8)
    other.restore(1, pair.snapshot(0))
    other.train(8, active=[False, True])
    pair.train(8)
    check_same(tensors_of(pair, 0), tensors_of(other, 1))
    pair.reset(0, 4)
    check_same(tensors_of(pair, 0), tensors_of(fleet_of(name, make_task, [4, 1]), 0))


@pytest.mark.parametrize("name", AVERAGING)
def test_what_is_evaluated_is_the_optimizers_average(name: str, make_task: MakeTask) -> None:
    fleet, plain = fleet_of(name, make_task, [1, 2, 3]), Fleet(make_task(), [1, 2, 3])
    fleet.train(24)
    state = [tensors_of(fleet, lane) for lane in range(3)]
    for lane in range(3):
        assert torch.equal(state[lane][EVALUATED], state[lane]["optimizer.average"])
        assert not torch.equal(state[lane][EVALUATED], state[lane]["weights"])
        with torch.no_grad():
            plain.detectors[0].weights[lane] = state[lane]["optimizer.average"]
    for lanes in (None, [2, 0]):
        for ours, theirs in zip(fleet.detect("val", lanes=lanes), plain.detect("val", lanes=lanes), strict=True):
            assert len(ours)
            assert (ours.boxes == theirs.boxes).all()
    for lane in range(3):
        check_same(state[lane], tensors_of(fleet, lane))


@pytest.mark.parametrize("name", AVERAGING)
def test_a_run_that_starts_from_it_starts_from_the_average(name: str, make_task: MakeTask, tmp_path: Path) -> None:
    trainer = Trainer(make_task(optimizer=name, optimizer_settings=SETTINGS.get(name, {})), seed=1)
    trainer.train(24)
    train, snapshot = trainer.task.splits.train, trainer.snapshot()
    Checkpoint(
        snapshot=snapshot,
        recipe=trainer.task.recipe,
        categories=train.annotations.category_names,
        size=train.size,
        history=(),
        settings={},
    ).save(tmp_path / "c.pt")
    loaded = LoadedDetector(tmp_path / "c.pt", torch.device("cpu"))
    assert torch.equal(loaded.detector.weights[0], snapshot.tensors[EVALUATED])
    for other in OPTIMIZERS:
        fresh = Trainer(make_task(optimizer=other), seed=2)
        start_from(fresh, tmp_path / "c.pt")
        tensors = fresh.snapshot().tensors
        points = [key for key in tensors if key.split(".")[-1] in ("weights", "average", "ahead", "start", EVALUATED)]
        assert "weights" in points
        for key in points:
            assert torch.equal(tensors[key], snapshot.tensors[EVALUATED]), (other, key)


class Averaging(RowSGD):
    """Somebody's own, which evaluates half of its weights."""

    default_lr = 0.05

    def evaluated(self, weights: torch.Tensor) -> torch.Tensor:
        return weights / 2


def test_an_own_optimizer_may_say_what_is_evaluated(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(optimizer=Averaging), seed=1)
    trainer.train(8)
    tensors = trainer.snapshot().tensors
    assert torch.equal(tensors[EVALUATED], tensors["weights"] / 2)
    assert default_lr(Averaging, 0.2) == 0.05
    assert default_lr(RowSGD, 0.3) == 0.3
    with pytest.raises(ConfigError, match=r"ema is 0\.9 with optimizer '.*Averaging', which evaluates an average"):
        Trainer(make_task(optimizer=Averaging, ema=0.9), seed=1)


@pytest.mark.parametrize("name", AVERAGING)
def test_two_averages_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"ema is 0.9 with optimizer '{name}', which evaluates .*: leave ema at 0"):
        Recipe(optimizer=name, ema=0.9)


@pytest.mark.parametrize("wrong", [0, -1.0, "fast", True])
def test_a_default_rate_that_is_none_is_refused(wrong: object) -> None:
    own = type("Mine", (RowSGD,), {"default_lr": wrong})
    with pytest.raises(ConfigError, match=r"optimizer 'Mine' has default_lr .*: expected a number above 0"):
        default_lr(own, 0.2)


def test_the_table_knows_which_optimizers_average() -> None:
    assert list(OPTIMIZER_TABLE) == list(OPTIMIZERS)
    for name, entry in OPTIMIZER_TABLE.items():
        assert hasattr(OPTIMIZERS[name], "evaluated") == entry.averages, name
        assert entry.default_lr > 0


LAST = {
    "tiny": 1,
    "nano": 2,
    "resnet18": 2,
    "ssdlite": 12,
    "retinanet_resnet18": 2,
    "fcos_resnet18": 3,
    "retinanet_small": 2,
    "fcos_small": 3,
    "faster_rcnn_resnet18": 4,
}
"""Detector -> its last layers: class logits, boxes, FCOS's center-ness, and those of Faster R-CNN's proposals."""


@pytest.mark.parametrize("name", LAST)
def test_muon_leaves_norms_biases_and_last_layers_to_adamw(name: str) -> None:
    objective = Objective() if name in ("tiny", "nano", "resnet18") else Objective(loss=OWN_LOSS)
    detector = build_detector(
        Choice(name=name), objective, classes=5, size=(64, 64), lanes=1, weights=None, device="cpu", autocast="none"
    )
    parts = detector.parts()
    muon = make_optimizer("muon", detector.weights.detach(), detector.decay, parts=parts)
    assert isinstance(muon, RowMuon)
    columns = {}
    first = 0
    for part, shape in parts.items():
        columns[first] = part
        first += math.prod(shape)
    matrices = {columns[start] for start, _, _ in muon._matrices}
    others = [part for part, shape in parts.items() if len(shape) > 1 and part not in matrices]
    assert all(len(parts[part]) > 1 for part in matrices)
    assert len(others) == LAST[name], others
    assert len(matrices) > 3


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nadamw", {"beta2": 1.0}, r"optimizer 'nadamw' has beta2 1\.0: expected a number of at least 0 and below 1"),
        ("nadamw", {"epsilon": -1.0}, "has epsilon -1.0: expected a number of at least 0"),
        ("nadamw", {"momentum_decay": "slow"}, "has momentum_decay slow: expected a number of at least 0"),
        ("prodigy", {"d0": 0.0}, r"optimizer 'prodigy' has d0 0\.0: expected a number above 0"),
        ("prodigy", {"d_coef": -1}, "has d_coef -1: expected a number above 0"),
        ("prodigy", {"growth_rate": 0.5}, "has growth_rate 0.5: expected a number of at least 1"),
        ("prodigy", {"beta2": True}, "has beta2 True: expected"),
        ("dog", {"reps_rel": 0.0}, r"optimizer 'dog' has reps_rel 0\.0: expected a number above 0"),
        ("dog", {"gamma": -1.0}, "has gamma -1.0: expected"),
        ("dog", {"init_eta": -1.0}, "has init_eta -1.0: expected"),
        ("dog", {"epsilon": 0.0}, "has epsilon 0.0: expected"),
        ("schedule_free_adamw", {"warmup_steps": -1}, "schedule_free_adamw's warmup_steps is -1: expected a whole"),
        ("schedule_free_adamw", {"r": -0.5}, "has r -0.5: expected"),
        ("schedule_free_adamw", {"weight_lr_power": -1.0}, "has weight_lr_power -1.0: expected"),
        ("schedule_free_adamw", {"beta2": 1.5}, "has beta2 1.5: expected"),
        ("schedule_free_adamw", {"epsilon": -1.5}, "has epsilon -1.5: expected"),
        ("muon", {"adamw_ratio": -0.1}, "has adamw_ratio -0.1: expected"),
        ("muon", {"ns_steps": 0}, "muon's ns_steps is 0: expected a whole number from 1 to 99"),
        ("muon", {"adjust_lr": "spectral"}, "unknown adjust_lr of muon 'spectral': did you mean 'spectral_unclamped'"),
        ("muon", {"adamw_parts": "("}, r"muon's adamw_parts is '\(': expected a regular expression"),
        ("muon", {"adamw_parts": "."}, "optimizer 'muon' finds no matrix among the parts matrix, bias, where those of"),
    ],
)
def test_a_setting_out_of_its_range_is_named(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(name, torch.ones(2, 8), torch.ones(8), settings, parts={"matrix": (2, 3), "bias": (2,)})


def test_muon_needs_a_detector_that_names_its_layers() -> None:
    with pytest.raises(ConfigError, match="optimizer 'muon' finds no matrix among the parts weights, where those"):
        make_optimizer("muon", torch.ones(2, 8), torch.ones(8))
