"""Each optimizer over rows against the package that its authors publish, lane by lane, over 100 steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from mapopt.training import Knobs, make_optimizer
from mapopt.training.knob_tensors import stack_knobs

STEPS, SIZE = 100, 35
PARTS = {"stem": (4, 2, 1, 2), "norm": (3,), "tall": (4, 2), "head": (2, 4)}
DECAYS = torch.tensor([1.0] * 16 + [0.0] * 3 + [1.0] * 16)
ROUND = [0.875, 0.5]
"""Momenta that float32 holds exactly, for packages subtract them from 1 in double precision."""

Step = Callable[[torch.Tensor], torch.Tensor]
"""Takes a gradient, and returns the weights to evaluate."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package's optimizer on one lane."""

    start: Callable[[torch.Tensor, Knobs], Step]
    needs: str = "torch"
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ours."""
    rates: tuple[float, float] = (0.01, 0.003)


def groups(weights: torch.Tensor, knobs: Knobs) -> tuple[list[torch.nn.Parameter], list[dict[str, Any]]]:
    """Returns parameters, those that decay first, and their groups."""
    parts = [torch.nn.Parameter(weights[mask].clone()) for mask in (DECAYS > 0, DECAYS == 0)]
    decays = [knobs.weight_decay, 0.0]
    return parts, [{"params": [part], "weight_decay": decay} for part, decay in zip(parts, decays, strict=True)]


def stepped(optimizer: torch.optim.Optimizer, parts: list[torch.nn.Parameter]) -> Step:
    def step(gradient: torch.Tensor) -> torch.Tensor:
        parts[0].grad, parts[1].grad = gradient[DECAYS > 0].clone(), gradient[DECAYS == 0].clone()
        optimizer.step()
        return joined(parts)

    return step


def joined(parts: list[torch.nn.Parameter]) -> torch.Tensor:
    whole = torch.empty(SIZE, dtype=parts[0].dtype)
    whole[DECAYS > 0], whole[DECAYS == 0] = parts[0].detach(), parts[1].detach()
    return whole


def nadam(**settings: Any) -> Callable[[torch.Tensor, Knobs], Step]:
    def start(weights: torch.Tensor, knobs: Knobs) -> Step:
        parts, by_decay = groups(weights, knobs)
        fixed = {"betas": (knobs.momentum, 0.999), "decoupled_weight_decay": True}
        return stepped(torch.optim.NAdam(by_decay, lr=knobs.lr, **fixed, **settings), parts)  # type: ignore[arg-type]

    return start


def prodigy(**settings: Any) -> Callable[[torch.Tensor, Knobs], Step]:
    def start(weights: torch.Tensor, knobs: Knobs) -> Step:
        parts, by_decay = groups(weights, knobs)
        kind = importlib.import_module("prodigyopt").Prodigy
        return stepped(kind(by_decay, lr=knobs.lr, betas=(knobs.momentum, 0.999), **settings), parts)

    return start


def schedule_free(**settings: Any) -> Callable[[torch.Tensor, Knobs], Step]:
    def start(weights: torch.Tensor, knobs: Knobs) -> Step:
        parts, by_decay = groups(weights, knobs)
        kind = importlib.import_module("schedulefree").AdamWScheduleFree
        optimizer = kind(by_decay, lr=knobs.lr, betas=(knobs.momentum, 0.999), **settings)
        step = stepped(optimizer, parts)

        def evaluated(gradient: torch.Tensor) -> torch.Tensor:
            optimizer.train()
            step(gradient)
            optimizer.eval()
            return joined(parts)

        return evaluated

    return start


def dog(*, layerwise: bool = False, gamma: float = 8.0, **settings: Any) -> Callable[[torch.Tensor, Knobs], Step]:
    """One group, for the package gives each a rate of its own; the decay is added here, by its mask."""

    def start(weights: torch.Tensor, knobs: Knobs) -> Step:
        module = importlib.import_module("dog")
        sizes = [16, 3, 8, 8] if layerwise else [SIZE]
        model = torch.nn.ParameterList([torch.nn.Parameter(part.clone()) for part in weights.split(sizes)])
        optimizer = (module.LDoG if layerwise else module.DoG)(model.parameters(), lr=knobs.lr, **settings)
        averager = module.PolynomialDecayAverager(model, gamma=gamma)

        def step(gradient: torch.Tensor) -> torch.Tensor:
            shrunk = gradient + knobs.weight_decay * DECAYS.to(gradient.dtype) * torch.cat(
                [part.detach() for part in model]
            )
            for part, slope in zip(model, shrunk.split(sizes), strict=True):
                part.grad = slope.clone()
            optimizer.step()
            averager.step()
            return torch.cat([part.detach() for part in averager.averaged_model])

        return step

    return start


def muon(*, ratio: float = 0.2, **settings: Any) -> Callable[[torch.Tensor, Knobs], Step]:
    def start(weights: torch.Tensor, knobs: Knobs) -> Step:
        stem, norm, tall, head = (torch.nn.Parameter(part.clone()) for part in weights.split([16, 3, 8, 8]))
        flat = [torch.nn.Parameter(stem.detach().view(4, 4)), torch.nn.Parameter(tall.detach().view(4, 2))]
        theirs = torch.optim.Muon(
            flat, lr=knobs.lr, weight_decay=knobs.weight_decay, momentum=knobs.momentum, **settings
        )
        others = [
            {"params": [norm], "weight_decay": 0.0},
            {"params": [head], "weight_decay": knobs.weight_decay},
        ]
        adamw = torch.optim.AdamW(others, lr=knobs.lr * ratio, betas=(0.9, 0.95), eps=1e-10)

        def step(gradient: torch.Tensor) -> torch.Tensor:
            slopes = gradient.split([16, 3, 8, 8])
            flat[0].grad, norm.grad = slopes[0].view(4, 4).clone(), slopes[1].clone()
            flat[1].grad, head.grad = slopes[2].view(4, 2).clone(), slopes[3].clone()
            theirs.step()
            adamw.step()
            return torch.cat([part.detach().flatten() for part in (flat[0], norm, flat[1], head)])

        return step

    return start


PACKAGES = {
    "nadamw": Package(start=nadam()),
    "nadamw, settings": Package(
        start=nadam(momentum_decay=0.1, eps=1e-3), settings={"momentum_decay": 0.1, "epsilon": 1e-3}
    ),
    "prodigy": Package(needs="prodigyopt", start=prodigy(), rates=(0.5, 0.25)),
    "prodigy, settings": Package(
        needs="prodigyopt",
        start=prodigy(d0=1e-4, d_coef=0.5, growth_rate=1.1, use_bias_correction=True, safeguard_warmup=True),
        settings={
            "d0": 1e-4,
            "d_coef": 0.5,
            "growth_rate": 1.1,
            "bias_correction": True,
            "safeguard_warmup": True,
        },
        rates=(1.0, 0.25),
    ),
    "dog": Package(needs="dog", start=dog(), rates=(1.0, 0.5)),
    "dog, settings": Package(
        needs="dog",
        start=dog(layerwise=True, gamma=2.0, reps_rel=1e-3, eps=1e-4),
        settings={"layerwise": True, "gamma": 2.0, "reps_rel": 1e-3, "epsilon": 1e-4},
        rates=(1.0, 0.5),
    ),
    "dog, first rate": Package(needs="dog", start=dog(init_eta=1e-3), settings={"init_eta": 1e-3}, rates=(1.0, 0.5)),
    "schedule_free_adamw": Package(needs="schedulefree", start=schedule_free()),
    "schedule_free_adamw, settings": Package(
        needs="schedulefree",
        start=schedule_free(warmup_steps=20, r=0.5, weight_lr_power=1.0, eps=1e-3),
        settings={"warmup_steps": 20, "r": 0.5, "weight_lr_power": 1.0, "epsilon": 1e-3},
    ),
    "muon": Package(start=muon(), rates=(0.03125, 0.0078125)),
    "muon, settings": Package(
        start=muon(nesterov=False, ns_steps=3, adjust_lr_fn="match_rms_adamw", ratio=0.5),
        settings={"nesterov": False, "ns_steps": 3, "adjust_lr": "match_rms_adamw", "adamw_ratio": 0.5},
        rates=(0.03125, 0.0078125),
    ),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-8)])
@pytest.mark.parametrize("case", PACKAGES)
def test_100_steps_are_those_of_the_package(
    case: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = PACKAGES[case]
    pytest.importorskip(package.needs, reason=f"{package.needs} is not installed: pip install mapopt[dev]")
    # torch's Muon multiplies in bfloat16, whose rounding would hide everything else.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, SIZE, generator=generator, dtype=dtype) / 8  # as large as weights are
    knobs = [
        Knobs(lr=rate, momentum=momentum, weight_decay=decay)
        for rate, momentum, decay in zip(package.rates, ROUND, (0.0625, 0.015625), strict=True)
    ]
    theirs = [package.start(row, own) for row, own in zip(start, knobs, strict=True)]
    weights = start.clone()
    ours = make_optimizer(case.partition(",")[0], weights, DECAYS.to(dtype), package.settings, parts=PARTS)
    evaluated = getattr(ours, "evaluated", lambda weights: weights)
    table = {name: values.to(dtype) for name, values in stack_knobs(knobs).items()}
    active = torch.ones(2, dtype=torch.bool)
    for step in range(STEPS):
        gradient = torch.randn(2, SIZE, generator=generator, dtype=dtype) + start
        ours.update(weights, gradient, table, active)
        expected = torch.stack([own(row) for own, row in zip(theirs, gradient, strict=True)])
        difference = float((evaluated(weights) - expected).abs().max())
        assert difference <= tolerance, f"{difference} at step {step}, of {expected.abs().max()}"
    assert float((evaluated(weights) - start).abs().max()) > 2e-6, "nothing moved"


def test_momentum_may_move_in_schedule_free_adamw_and_what_is_evaluated_stays_the_average() -> None:
    """The package finds x from y by the momentum of now; with one that moves, that is another point."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, SIZE, generator=generator, dtype=torch.float64)
    x, z, second, total = weights[0].clone(), weights[0].clone(), torch.zeros(SIZE, dtype=torch.float64), 0.0
    ours = make_optimizer("schedule_free_adamw", weights, DECAYS.double())
    for step, momentum in enumerate((0.875, 0.0, 0.5, 0.75)):
        gradient = torch.randn(1, SIZE, generator=generator, dtype=torch.float64)
        table = {
            name: values.double()
            for name, values in stack_knobs([Knobs(lr=0.125, momentum=momentum, weight_decay=0.0625)]).items()
        }
        second = 0.999 * second + 0.001 * gradient[0] ** 2
        root = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
        z = z - 0.125 * (gradient[0] / root + 0.0625 * DECAYS * weights[0])
        total += 0.125**2
        x = x + 0.125**2 / total * (z - x)
        ours.update(weights, gradient, table, torch.ones(1, dtype=torch.bool))
        torch.testing.assert_close(weights[0], (1 - momentum) * z + momentum * x)
        torch.testing.assert_close(ours.evaluated(weights)[0], x)  # type: ignore[attr-defined]
