"""Half precision: what runs in it, how float16 scales its losses, and what files of before say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors import build_detector
from mapopt.errors import ConfigError
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import Fleet, Knobs, Recipe, Task
from mapopt.training.loss_scales import FIRST, INTERVAL, LossScales


@pytest.fixture(scope="module")
def fleet_of() -> Callable[..., Fleet]:
    splits = make_shapes_splits(ShapesConfig(size=32), seed=3, train=12, val=2, test=2)

    def fleet(lanes: int = 2, **recipe: Any) -> Fleet:
        fields = {"autocast": "float16", "batch_size": 4, "loss": "focal", "optimizer": "adamw", **recipe}
        task = Task(name="small", splits=splits, recipe=Recipe(**fields), knobs=Knobs(lr=0.01, augment=0.3))
        return Fleet(task, list(range(5, 5 + lanes)))

    return fleet


def weights(fleet: Fleet, lane: int = 0) -> torch.Tensor:
    return fleet.snapshot(lane).tensors["weights"]


def scale(fleet: Fleet, lane: int = 0) -> float:
    return float(fleet.snapshot(lane).tensors["loss_scale.factor"])


def set_scale(fleet: Fleet, lane: int, factor: float) -> None:
    state = fleet.snapshot(lane)
    state.tensors["loss_scale.factor"].fill_(factor)
    fleet.restore(lane, state)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_the_network_runs_in_the_type_that_is_named(kind: str) -> None:
    recipe = Recipe(autocast=kind)  # type: ignore[arg-type]
    detector = build_detector("nano", recipe, classes=2, size=(64, 64), autocast=recipe.autocast_on("cpu"))
    detector.initialize(0, 0)
    seen = set()
    hook = lambda module, inputs, outputs: seen.add(outputs.dtype)  # noqa: E731
    next(
        module for module in detector.network.module.modules() if isinstance(module, torch.nn.Conv2d)
    ).register_forward_hook(hook)
    logits, boxes, _ = detector.outputs(torch.zeros(1, 1, 3, 64, 64))
    assert seen == {getattr(torch, kind)}
    assert logits.dtype == boxes.dtype == detector.weights.dtype == torch.float32


def test_float16_trains_and_its_gradients_are_logged_without_the_scale(fleet_of: Callable[..., Fleet]) -> None:
    half, full = fleet_of(1), fleet_of(1, autocast="none")
    set_scale(half, 0, 256.0)
    for _ in range(6):
        first, second = half.train(4)[0], full.train(4)[0]
        assert not first.diverged
        assert first.skipped == 0
        assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=0.1)
        assert first.class_loss == pytest.approx(second.class_loss, rel=0.1)
    assert scale(half) == 256
    assert half.snapshot(0).tensors["loss_scale.fitted"] == 6
    assert not [name for name in full.snapshot(0).tensors if name.startswith("loss_scale")]


def test_a_step_whose_gradient_does_not_fit_is_left_out_and_its_scale_halved(fleet_of: Callable[..., Fleet]) -> None:
    overflows, fits = fleet_of(), fleet_of()
    set_scale(overflows, 0, 2.0**60)
    before, state = weights(overflows), overflows.snapshot(0).tensors
    interval = overflows.train(8, measures=["gradient_agreement"])
    fits.train(8)
    assert [played.skipped for played in interval] == [2, 0]
    assert torch.equal(weights(overflows), before)
    after = overflows.snapshot(0).tensors
    assert all(torch.equal(after[name], value) for name, value in state.items() if name.startswith("optimizer."))
    assert scale(overflows) == 2.0**58
    # What was skipped has losses, and no gradient; the other lane knows nothing of it.
    assert interval[0].class_loss > 0
    assert interval[0].gradient_norm == interval[0].update_ratio == 0
    assert torch.equal(weights(overflows, 1), weights(fits, 1))
    assert scale(overflows, 1) == FIRST


def test_it_finds_a_scale_that_fits_and_learns_on(fleet_of: Callable[..., Fleet]) -> None:
    fleet = fleet_of(1)
    set_scale(fleet, 0, 2.0**34)
    before = weights(fleet)
    interval = fleet.train(4 * 24)[0]
    assert 0 < interval.skipped < 24
    assert scale(fleet) == 2.0 ** (34 - interval.skipped)
    assert not torch.equal(weights(fleet), before)
    assert math.isfinite(interval.gradient_norm_max)


def test_a_gradient_that_fits_at_no_scale_is_a_divergence(
    fleet_of: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of()
    gradient = fleet.detectors[0].gradient

    def broken() -> torch.Tensor:
        made = gradient()
        made[0, 3] = torch.inf
        return made

    monkeypatch.setattr(fleet.detectors[0], "gradient", broken)
    set_scale(fleet, 0, 2.0)
    before = weights(fleet)
    intervals = fleet.train(16)
    assert [interval.diverged for interval in intervals] == [True, False]
    assert intervals[0].skipped == 1
    assert torch.equal(weights(fleet), before)


def test_a_loss_that_is_not_finite_is_a_divergence_at_once(
    fleet_of: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of()
    losses = fleet.detectors[0].losses

    def broken(*arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        made = losses(*arguments, **named)
        return {**made, "class": made["class"] * torch.tensor([1.0, torch.inf])}

    monkeypatch.setattr(fleet.detectors[0], "losses", broken)
    assert [interval.diverged for interval in fleet.train(4)] == [False, True]
    assert scale(fleet, 1) == FIRST


def test_a_restored_lane_goes_on_with_its_scale_bit_for_bit(fleet_of: Callable[..., Fleet]) -> None:
    whole, halves = fleet_of(1, ema=0.9), fleet_of(1, ema=0.9)
    for fleet in (whole, halves):
        set_scale(fleet, 0, 2.0**30)
    whole.train(4 * 12)
    halves.train(4 * 4)
    other = fleet_of(1, ema=0.9)
    other.restore(0, halves.snapshot(0))
    other.train(4 * 8)
    first, second = whole.snapshot(0).tensors, other.snapshot(0).tensors
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert FIRST <= scale(whole) < 2.0**30
    other.renew(0)
    assert scale(other) == FIRST


def test_a_batch_in_pieces_is_scaled_as_one_in_one_piece(fleet_of: Callable[..., Fleet]) -> None:
    norms = {}
    for autocast in ("none", "float16"):
        fleet = fleet_of(1, detector="nano", autocast=autocast, accumulate=2)
        if autocast == "float16":
            set_scale(fleet, 0, 256.0)
        norms[autocast] = fleet.train(4)[0].gradient_norm
    assert norms["float16"] == pytest.approx(norms["none"], rel=0.1)


def test_scales_move_as_those_of_torch() -> None:
    mine, theirs = LossScales(1, torch.device("cpu")), torch.amp.GradScaler("cpu")
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    theirs.scale(weight)  # which makes it begin
    for step in range(INTERVAL + 20):
        fits = step not in (0, 1, 5, INTERVAL + 15)
        weight.grad = torch.tensor([1.0 if fits else torch.inf])
        theirs.step(optimizer)
        theirs.update()
        running, stepping = mine.follow(torch.tensor([1.0 if fits else torch.inf]), torch.ones(1, dtype=torch.bool))
        assert (bool(running), bool(stepping)) == (True, fits)
        assert mine.factor.item() == theirs.get_scale()
    assert mine.factor.item() == FIRST * 0.5**3 * 2 * 0.5


def test_scales_of_lanes_that_do_not_run_stay() -> None:
    scales = LossScales(2, torch.device("cpu"))
    scales.follow(torch.tensor([torch.inf, torch.inf]), torch.tensor([True, False]))
    assert scales.factor.tolist() == [FIRST / 2, FIRST]


def test_what_was_a_switch_is_read_as_before() -> None:
    assert Recipe().autocast == Recipe(autocast=True).autocast == "auto"  # type: ignore[arg-type]
    for then, now in ((True, "auto"), (False, "none")):
        former = {**to_mapping(Recipe()), "autocast": then}
        assert from_mapping(Recipe, former, "a file").autocast == now
    with pytest.raises(ConfigError, match=r"unknown autocast 'fp16'\. Known: auto, bfloat16, float16, none"):
        Recipe(autocast="fp16")  # type: ignore[arg-type]
