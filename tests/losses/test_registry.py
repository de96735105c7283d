"""Losses by name, and the table that knows them without importing them."""

import inspect
import subprocess
import sys

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.losses import (
    BOX_LOSSES,
    LOSS_TABLE,
    LOSSES,
    APLoss,
    ListLoss,
    PointwiseLoss,
    RankSortLoss,
    check_loss_settings,
    make_loss,
)
from mapopt.losses.table import start_weight
from mapopt.registry import Choice

SCORES, LABELS = torch.tensor([0.3, 0.1, -0.2, 0.4]), torch.tensor([0.9, 0.5, 0.0, 0.0])
PARAMETERS = [(name, parameter) for name, entry in LOSS_TABLE.items() for parameter in entry.parameters]


@pytest.mark.parametrize("name", LOSSES)
def test_the_table_says_what_the_class_says(name: str) -> None:
    loss, entry = LOSSES[name], LOSS_TABLE[name]
    parameters = inspect.signature(loss).parameters
    parameters = {
        key: value for key, value in parameters.items() if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
    }
    assert set(entry.parameters) == set(parameters)
    assert entry.pointwise == loss.pointwise == issubclass(loss, PointwiseLoss)
    assert entry.is_error_rate == loss.error_rate
    assert entry.default_class_weight == loss.default_class_weight == start_weight(name) == loss().start_weight()
    if "gradient" in parameters:
        assert start_weight(name, {"gradient": "exact"}) == loss(gradient="exact").start_weight() == 1.0
    check_loss_settings(name, {key: parameter.default for key, parameter in parameters.items()})


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_the_table_refuses_what_the_class_refuses(name: str, parameter: str) -> None:
    allowed = LOSS_TABLE[name].parameters[parameter]
    bounds = [allowed.above, allowed.below, allowed.min - 0.1, allowed.max + 0.1]
    for value in ["x"] if allowed.kind is str else [bound for bound in bounds if abs(bound) < 1e9]:
        with pytest.raises(ConfigError, match=f"loss '{name}' got {parameter}={value!r}: expected "):
            check_loss_settings(name, {parameter: value})
        with pytest.raises(ConfigError, match=f"got .*{parameter}="):
            LOSSES[name](**{parameter: value})(SCORES, LABELS)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("focl", {}, "unknown loss 'focl': did you mean 'focal'.*or module:attribute for your own"),
        ("ap", {"dleta": 1.0}, "unknown parameter of loss 'ap' 'dleta': did you mean 'delta'"),
        ("ap", {"gradient": "true"}, "loss 'ap' got gradient='true': expected 'error-driven' or 'exact'"),
        ("ap", {"interpolate": 1}, "loss 'ap' got interpolate=1: expected True or False"),
        ("ap", {"delta": "wide"}, "loss 'ap' got delta='wide': expected a number above 0"),
        ("ap", {"delta": float("nan")}, "loss 'ap' got delta=nan: expected a number above 0"),
        ("fast_ap", {"bins": 2.5}, "loss 'fast_ap' got bins=2.5: expected a whole number above 0"),
        ("parameterized_ap", {"rank_x": 1}, "got rank_x=1: expected a number above 0 and below 1"),
        ("mean_ap", {"floor": 1.1}, "got floor=1.1: expected a number from 0 to 1"),
    ],
)
def test_mistakes_in_settings_are_found_before_a_loss_is_made(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_loss_settings(name, settings)
    with pytest.raises(ConfigError, match=message):
        make_loss(name, settings)


def test_a_name_a_class_an_object_a_text_and_a_choice_make_a_loss() -> None:
    text = "mapopt.losses.rank_sort:RankSortLoss"
    for given in ("rank_sort", text, RankSortLoss, Choice(name="rank_sort"), Choice(name=text)):
        loss = make_loss(given, {"delta": 0.25})
        assert (type(loss), loss.delta) == (RankSortLoss, 0.25)
    assert make_loss(Choice(name="rank_sort", settings={"delta": 2.0})).delta == 2.0
    loss = RankSortLoss()
    assert make_loss(loss) is loss
    with pytest.raises(ConfigError, match="loss of type RankSortLoss is finished, but settings were given"):
        make_loss(loss, {"delta": 1.0})


def test_a_tensor_is_left_to_the_loss_itself() -> None:
    weight = torch.tensor([1.0, 2.0, 1.0, 1.0])
    assert make_loss("focal", {"weight": weight}).weight is weight


def test_an_object_is_stored_as_its_class_and_what_differs_from_the_defaults() -> None:
    choice = LOSSES.choice(RankSortLoss(delta=0.25, gradient="exact"))
    assert choice == Choice(name="rank_sort", settings={"delta": 0.25, "gradient": "exact"})
    assert repr(make_loss(choice)) == repr(RankSortLoss(delta=0.25, gradient="exact"))
    for loss in (make_loss(name) for name in LOSSES):
        assert repr(make_loss(LOSSES.choice(loss))) == repr(loss)
    assert LOSSES.choice(APLoss()).settings == {}


def test_names_and_settings_are_checked_without_torch() -> None:
    code = (
        "import sys; from mapopt.losses import BOX_LOSSES, LOSSES, check_loss_settings; "
        "check_loss_settings('ap', {'delta': 2}); LOSSES.check_name('focal'); BOX_LOSSES.check_name('giou'); "
        "print(*[name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


def test_every_name_is_offered_and_is_what_it_says() -> None:
    import mapopt.losses

    for name in mapopt.losses.__all__:
        assert getattr(mapopt.losses, name) is not None
        assert name in dir(mapopt.losses)
    assert all(issubclass(loss, ListLoss) for loss in LOSSES.values())
    assert all(callable(loss) for loss in BOX_LOSSES.values())
