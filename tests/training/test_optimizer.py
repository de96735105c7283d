"""The optimizers against torch's, lane by lane, and somebody's own."""

from __future__ import annotations

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import OPTIMIZERS, Knobs, Recipe, make_optimizer
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.optimizers.base import clip_rows
from mapopt.training.optimizers.sgd import RowSGD

LANES = [Knobs(lr=0.1, momentum=0.9, weight_decay=0.01), Knobs(lr=0.02, momentum=0.5, weight_decay=0.1)]

PARTS = {"matrix": (1, 2), "bias": (1,)}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_each_lane_is_updated_as_torch_would(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 6, generator=generator)
    gradients = torch.randn(5, 2, 6, generator=generator)
    decay = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    weights = start.clone()
    ours = OPTIMIZERS[name](weights, decay)
    for gradient in gradients:
        ours.update(weights, gradient, stack_knobs(LANES), torch.ones(2, dtype=torch.bool))
    for lane, knobs in enumerate(LANES):
        parts = [start[lane, :4].clone().requires_grad_(), start[lane, 4:].clone().requires_grad_()]
        groups = [{"params": parts[:1], "weight_decay": knobs.weight_decay}, {"params": parts[1:], "weight_decay": 0.0}]
        if name == "sgd":
            theirs: torch.optim.Optimizer = torch.optim.SGD(groups, lr=knobs.lr, momentum=knobs.momentum)
        else:
            theirs = torch.optim.AdamW(groups, lr=knobs.lr, betas=(knobs.momentum, 0.999))
        for gradient in gradients:
            parts[0].grad, parts[1].grad = gradient[lane, :4].clone(), gradient[lane, 4:].clone()
            theirs.step()
        torch.testing.assert_close(weights[lane], torch.cat([part.detach() for part in parts]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_that_does_not_run_keeps_its_weights_and_state(name: str) -> None:
    weights = torch.ones(2, 3)
    optimizer = make_optimizer(name, weights, torch.ones(3), parts=PARTS)
    optimizer.update(weights, torch.ones(2, 3), stack_knobs(LANES), torch.tensor([True, False]))
    assert torch.equal(weights[1], torch.ones(3))
    assert not torch.equal(weights[0], torch.ones(3))
    fresh = make_optimizer(name, torch.ones(2, 3), torch.ones(3), parts=PARTS)
    for key, value in optimizer.state.items():
        assert torch.equal(value[1], fresh.state[key][1])


SETTINGS = {
    "Adagrad": {"lr_decay": 0.1},
    "SGD": {"nesterov": True},
    "NAdam": {},
    "RMSprop": {"alpha": 0.9},
    "Adafactor": {},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_optimizer_of_torch_runs_with_the_knobs_of_each_lane(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 6, generator=generator)
    gradients = torch.randn(5, 2, 6, generator=generator)
    decay = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    weights, kind = start.clone(), getattr(torch.optim, name)
    ours = make_optimizer(f"torch.optim:{name}", weights, decay, SETTINGS[name])
    rates = torch.linspace(1.0, 0.5, 5)
    for gradient, factor in zip(gradients, rates, strict=True):
        table = stack_knobs([knobs.replace(lr=knobs.lr * float(factor)) for knobs in LANES])
        moved = ours.update(weights, gradient, table, torch.ones(2, dtype=torch.bool))
    assert (moved > 0).all()
    for lane, knobs in enumerate(LANES):
        parts = [start[lane, decay > 0].clone().requires_grad_(), start[lane, decay == 0].clone().requires_grad_()]
        first = {"momentum": 0.9} if name == "SGD" else {}
        theirs = kind([{"params": [part]} for part in parts], **SETTINGS[name], **first)
        for gradient, factor in zip(gradients, rates, strict=True):
            for group, rate in zip(theirs.param_groups, (knobs.weight_decay, 0.0), strict=True):
                group["lr"], group["weight_decay"] = knobs.lr * float(factor), rate
                if "momentum" in group:
                    group["momentum"] = knobs.momentum
                if "betas" in group:
                    group["betas"] = (knobs.momentum, group["betas"][1])
            parts[0].grad, parts[1].grad = gradient[lane, decay > 0].clone(), gradient[lane, decay == 0].clone()
            theirs.step()
        torch.testing.assert_close(weights[lane, decay > 0], parts[0].detach(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(weights[lane, decay == 0], parts[1].detach(), rtol=1e-6, atol=1e-7)


class Counting(torch.optim.SGD):
    """Counts its steps where no snapshot would look."""

    count = 0

    def step(self, closure=None):
        self.count = self.count + 1
        return super().step(closure)


class Listing(torch.optim.SGD):
    """Keeps a list in its state."""

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["past"] = [1.0]


class Squaring(torch.optim.SGD):
    """Keeps a matrix in its state."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["matrix"] = parameter.detach()[:, None] * parameter.detach()


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ("sdg", {}, "unknown optimizer 'sdg': did you mean 'sgd'"),
        ("sgd", {"nesterov": True}, "unknown setting of optimizer 'sgd' 'nesterov'"),
        ("torch.optim:Adam", {"lr": 0.1}, "optimizer 'Adam' got the setting 'lr', which is a knob: set that"),
        (
            "torch.optim:Adam",
            {"amsgard": True},
            "unknown setting of optimizer 'torch.optim:Adam' 'amsgard': did you mean",
        ),
        ("torch.optim:Adam", {"eps": -1.0}, "cannot be made of these settings .*Invalid epsilon"),
        ("torch.optim:SparseAdam", {}, "optimizer 'SparseAdam' cannot step by gradients alone"),
        ("torch.optim:lr_scheduler", {}, "is no class: expected one that is made as MyOptimizer"),
        ("torch:Tensor", {}, r"has no method update\(weights, gradient, knobs, active\)"),
        (
            Counting,
            {},
            "counts in 'count', which no snapshot would hold: .* write it as a mapopt.training.RowOptimizer",
        ),
        (Listing, {}, "keeps 'past' of type list"),
        (Squaring, {}, r"keeps 'matrix' in a shape of \[3, 3\]: expected numbers and tensors like the parameters"),
        (
            type("Stateless", (), {"__init__": lambda self, weights, decay: None, "update": print}),
            {},
            "no dictionary `state`",
        ),
        (
            type(
                "Flat",
                (),
                {"__init__": lambda self, weights, decay: setattr(self, "state", {"m": decay}), "update": print},
            ),
            {},
            r"keeps 'm' in a shape of \[3\]: expected a row per lane, \[2, ...\]",
        ),
    ],
)
def test_what_is_no_optimizer_is_named(given: object, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(given, torch.ones(2, 3), torch.ones(3), settings)  # type: ignore[arg-type]


def test_a_recipe_takes_a_class_and_keeps_its_name() -> None:
    recipe = Recipe.of(optimizer=torch.optim.RAdam, optimizer_settings={"eps": 1e-6})
    assert (recipe.optimizer, recipe.optimizer_settings) == ("torch.optim.radam:RAdam", {"eps": 1e-6})
    assert Recipe.of(optimizer=RowSGD).optimizer == "sgd"
    assert recipe == Recipe(optimizer="torch.optim.radam:RAdam", optimizer_settings={"eps": 1e-6})
    with pytest.raises(ConfigError, match="unknown field of a recipe 'optimiser': did you mean 'optimizer'"):
        Recipe.of(optimiser="sgd")


def test_rows_are_clipped_to_the_norm_each_on_its_own() -> None:
    rows, norms = clip_rows(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def test_the_length_of_a_step_is_that_of_what_the_weights_lose() -> None:
    for name in OPTIMIZERS:
        weights = torch.arange(6.0).reshape(2, 3)
        optimizer = make_optimizer(name, weights, torch.ones(3), parts=PARTS)
        for gradient in (torch.ones(2, 3), torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.1, 0.0]])):
            before = weights.clone()
            length = optimizer.update(weights, gradient, stack_knobs(LANES), torch.tensor([True, False]))
            torch.testing.assert_close(length, (weights - before).norm(dim=1), rtol=1e-4, atol=1e-6)


def test_gradients_as_small_as_adams_epsilon_are_updated_as_torch_would() -> None:
    weights, theirs = torch.zeros(1, 2), torch.zeros(2, requires_grad=True)
    ours = OPTIMIZERS["adamw"](weights, torch.ones(2))
    knobs = Knobs(lr=0.1, momentum=0.9, weight_decay=1e-7)
    adam = torch.optim.AdamW([theirs], lr=0.1, betas=(0.9, 0.999), weight_decay=1e-7)
    theirs.grad = torch.tensor([3e-8, -1e-7])
    adam.step()
    ours.update(weights, theirs.grad[None], stack_knobs([knobs]), torch.ones(1, dtype=torch.bool))
    torch.testing.assert_close(weights[0], theirs.detach(), rtol=1e-4, atol=0.0)
