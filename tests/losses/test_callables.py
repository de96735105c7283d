"""Functions, modules and classes of anybody's, as losses of the family."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mapopt.errors import ConfigError
from mapopt.losses import APLoss, ListLoss, Lists, as_list_loss, giou_loss, make_box_loss, make_loss, smooth_l1_loss
from mapopt.registry import Choice


class Limits:
    """Stands for `mapopt.training.Range`."""

    low, high, log = 0.0, 3.0, False


def hinge(scores: Tensor, labels: Tensor, where: Tensor, margin: float = 1.0) -> Tensor:
    assert where.all()
    gaps = scores[labels == 0] - scores[labels > 0][:, None] + margin
    return gaps.clamp(min=0).sum() / (labels > 0).sum()


class HingeLoss(ListLoss):
    """The same on all lists at once."""

    knobs = {"margin": Limits()}

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        gaps = lists.scores[:, None, :] - lists.scores[:, :, None]
        margin = self.per_list("margin", lists)
        margin = margin[..., None].to(gaps.dtype) if isinstance(margin, Tensor) else margin
        pairs = lists.positive[:, :, None] & lists.negative[:, None, :]
        return {"rank": ((gaps + margin).clamp(min=0) * pairs).sum((1, 2)) / lists.count.clamp(min=1)}


class HingeModule(nn.Module):
    knobs = {"margin": Limits()}
    saturates = True

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        return self.scale * hinge(scores, labels, where, self.margin)


class Hinge:
    def __call__(self, scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        return hinge(scores, labels, where)


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64)
    labels = torch.rand(2, 3, 12, generator=generator).round().double()
    labels[0, 1] = 0  # a list without a positive
    return scores.requires_grad_(), labels, torch.rand(2, 3, 12, generator=generator) < 0.8


_KINDS = {"function": hinge, "module class": HingeModule, "module": HingeModule(), "class": Hinge, "object": Hinge()}


@pytest.mark.parametrize("given", _KINDS.values(), ids=_KINDS.keys())
def test_whatever_is_called_with_a_list_is_a_loss(given: Any, problem: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, labels, where = problem
    loss, expected = make_loss(given), HingeLoss()
    assert isinstance(loss, ListLoss)
    torch.testing.assert_close(loss.lists(*problem)["rank"], expected.lists(*problem)["rank"])
    (ours,) = torch.autograd.grad(loss(*problem), scores)
    (theirs,) = torch.autograd.grad(expected(*problem), scores)
    torch.testing.assert_close(ours, theirs)
    assert not ours[0, 1].any()
    (none,) = torch.autograd.grad(loss(scores, torch.zeros_like(labels), where), scores)
    assert not none.any()
    assert loss(scores.detach().float().half(), labels).dtype == torch.float32


def test_what_a_function_says_of_itself_is_what_the_loss_says() -> None:
    loss = as_list_loss(hinge)
    assert (loss.pointwise, loss.soft_labels, loss.error_rate, loss.saturates) == (False, False, False, False)
    assert as_list_loss(HingeModule()).saturates
    assert repr(as_list_loss(hinge, {"margin": 2.0})) == "CallableLoss(hinge, margin=2.0)"


def test_the_parameters_of_a_module_are_those_of_the_loss() -> None:
    module = HingeModule()
    assert list(make_loss(module).parameters()) == [module.scale]


def hinge_with_knob(scores: Tensor, labels: Tensor, where: Tensor, margin: float = 1.0) -> Tensor:
    return hinge(scores, labels, where, margin)


hinge_with_knob.knobs = {"margin": Limits()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [hinge_with_knob, HingeModule, HingeLoss])
def test_lanes_have_their_own_values_of_a_knob(given: Any, problem: tuple[Tensor, Tensor, Tensor]) -> None:
    loss = make_loss(given)
    assert list(loss.knobs) == ["margin"]
    assert loss.margin == 1.0
    apart = [HingeLoss(margin).lists(*(part[lane] for part in problem)) for lane, margin in enumerate((0.5, 2.0))]
    loss.set_knobs({"margin": torch.tensor([0.5, 2.0]), "lr": torch.ones(2)}, dimensions=3)
    assert not hasattr(loss, "lr")
    together = loss.lists(*problem)["rank"]
    torch.testing.assert_close(together, torch.stack([part["rank"] for part in apart]))


def test_a_function_of_another_module_is_a_loss_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "total_loss_of_mine.py").write_text(
        "def total(scores, labels, where, factor=1.0):\n    return factor * scores.sum()\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    choice = Choice(name="total_loss_of_mine:total", settings={"factor": 2.0})
    assert make_loss(choice)(torch.ones(3), torch.ones(3)).item() == 6.0


def test_an_argument_without_a_default_is_set() -> None:
    assert make_loss(without_a_default, {"steep": 2.0})(torch.ones(3), torch.ones(3)).item() == 6.0


class Unfinished(ListLoss):
    pass


class Silent:
    pass


def without_a_default(scores: Tensor, labels: Tensor, where: Tensor, *, steep: float) -> Tensor:
    return scores.sum() * steep


def knob_without_argument(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    return scores.sum()


knob_without_argument.knobs = {"margin": Limits()}  # type: ignore[attr-defined]


class Hinge4:
    def __call__(self, scores, labels, where, more):
        return scores.sum()


class KnobWithoutAttribute(Hinge):
    knobs = {"margin": Limits()}


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (3, {}, r"loss of type int cannot be called: expected .* called with \(scores, labels, where\)"),
        (lambda scores, labels: scores, {}, r"loss '.*lambda.*' takes other arguments \(scores, labels\): expected"),
        (Silent, {}, "loss 'Silent' makes objects that cannot be called: expected"),
        (Unfinished, {}, r"loss 'Unfinished' has no evaluate: expected a method evaluate\(lists\)"),
        (hinge, {"magrin": 1.0}, "unknown setting of loss 'hinge' 'magrin': did you mean 'margin'"),
        (Hinge4(), {}, r"takes other arguments \(scores, labels, where, more\)"),
        (without_a_default, {}, "loss 'without_a_default' needs 'steep', and it is not given"),
        (HingeModule(), {"margin": 1.0}, "loss of type HingeModule is finished, but settings were given"),
        (knob_without_argument, {}, "declares a knob 'margin'.*give it an argument with a default of that name"),
        (KnobWithoutAttribute, {}, "declares a knob 'margin'.*give it an attribute of that name"),
        (lambda scores, labels, where, lists=1: scores, {"lists": 2}, "has a setting 'lists', which is taken"),
    ],
)
def test_what_is_no_loss_is_named(given: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_loss(given, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda scores, labels, where: scores, r"returned a tensor \[3\] of torch.float32; expected a scalar"),
        (lambda scores, labels, where: 1.0, "returned float; expected a scalar tensor: reduce the list"),
        (lambda scores, labels, where: labels.sum().long(), r"returned a tensor \[\] of torch.int64"),
    ],
)
def test_a_result_that_is_no_scalar_is_named(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_loss(function)(torch.zeros(3), torch.ones(3))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "Own.evaluate returned NoneType; expected its components by name"),
        ({}, "Own.evaluate returned dict; expected its components by name"),
        (
            {"rank": torch.zeros(())},
            r"Own.evaluate returned 'rank' of shape \[\]; expected .* one value per list, \[1\]",
        ),
        ({"rank": 0.0}, "Own.evaluate returned 'rank' of type float; expected"),
    ],
)
def test_components_that_are_none_are_named(result: Any, message: str) -> None:
    class Own(ListLoss):
        def evaluate(self, lists: Lists) -> dict[str, Tensor]:
            return result

    with pytest.raises(ConfigError, match=message):
        Own()(torch.zeros(3), torch.ones(3))


def test_a_subclass_of_ours_is_a_loss() -> None:
    class Doubled(APLoss):
        def evaluate(self, lists: Lists) -> dict[str, Tensor]:
            return {name: 2 * value for name, value in super().evaluate(lists).items()}

    scores, labels = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.0])
    assert make_loss(Doubled, {"delta": 2.0})(scores, labels) == 2 * APLoss(2.0)(scores, labels)


def own_distance(boxes: Tensor, targets: Tensor, power: float = 1.0) -> Tensor:
    assert boxes.shape == targets.shape == (6, 4)
    return (boxes - targets).abs().pow(power).sum(-1)


def test_box_losses_of_ones_own_see_pairs_and_keep_leading_dimensions() -> None:
    boxes, targets = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    assert torch.equal(make_box_loss(own_distance)(boxes, targets), (boxes - targets).abs().sum(-1))
    assert torch.equal(make_box_loss(own_distance, {"power": 2.0})(boxes, targets), ((boxes - targets) ** 2).sum(-1))
    assert make_box_loss("giou") is giou_loss
    assert torch.equal(
        make_box_loss("smooth_l1", {"beta": 0.1})(boxes, targets), smooth_l1_loss(boxes, targets, beta=0.1)
    )
    boxes[..., 2:] += 1
    targets[..., 2:] += 1
    assert make_box_loss("torchvision.ops:complete_box_iou_loss")(boxes, targets).shape == (2, 3)


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ("giuo", {}, "unknown box loss 'giuo': did you mean 'giou'"),
        (lambda boxes: boxes, {}, r"takes other arguments \(boxes\): expected .* called with \(boxes, targets\)"),
        (own_distance, {"pwoer": 1}, "unknown setting of box loss 'own_distance' 'pwoer': did you mean 'power'"),
        (
            lambda boxes, targets: (boxes - targets).sum(),
            {},
            r"returned a tensor \[\] .* for 2 boxes; expected .* \[2\]",
        ),
    ],
)
def test_what_is_no_box_loss_is_named(given: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_box_loss(given, settings)(torch.zeros(2, 4), torch.zeros(2, 4))
