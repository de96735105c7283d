"""The settings of augmentation: what is wrong with them is said, and what is left open is in no file."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from mapopt.data.augmentation.naming import name_of
from mapopt.data.augmentation.settings import BELONGS_TO, NONE, RANGES, Augmentation
from mapopt.data.augmentation.transforms import make_transform
from mapopt.errors import ConfigError
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.recipe import Recipe

KEPT = v2.Compose([v2.RandomVerticalFlip(), v2.RandomGrayscale()])


def double(image: torch.Tensor, target: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return image, target


def flips(p: float = 0.5) -> v2.Transform:
    return v2.RandomVerticalFlip(p)


NUMBER = 3


def number() -> int:
    return NUMBER


@pytest.mark.parametrize(("fields", "said"), [
    *[({name: high + 1}, f"{name} is {high + 1}: expected") for name, (_, high) in RANGES.items()],
    *[({name: low - 1}, f"{name} is {low - 1}: expected {low:g} to") for name, (low, _) in RANGES.items()],
    ({"rotate": float("nan")}, "rotate is nan: expected 0 to 180"),
    ({"mosaic": True}, "mosaic is True: expected 0 to 1"),
    ({"cut_out": 1, "cut_out_size": 0.0}, "cut_out_size is 0.0: expected a number above 0"),
    ({"mixup": 1, "mixup_weight": 0.0}, "mixup_weight is 0.0: expected a number above 0"),
    ({"copy_paste": 1, "copy_paste_objects": 2.5}, "copy_paste_objects is 2.5: expected a whole number"),
    ({"rotate_probability": 0.5}, "rotate_probability is 0.5, and rotate is 0: give rotate too, or leave"),
    ({"scale_probability": 0.5}, "scale_probability is 0.5, and scale is not given: give scale too"),
    ({"mosaic_zoom": 0.5}, "mosaic_zoom is 0.5, and mosaic is 0: give mosaic too"),
    ({"transform_settings": {"p": 1}}, "transform_settings is {'p': 1}, and transform is not given"),
    ({"transform": "flip"}, "transform is 'flip': expected module:attribute, such as torchvision.transforms.v2"),
], ids=str)  # fmt: skip
def test_a_wrong_number_is_named_with_what_is_expected(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Augmentation(**fields)
    assert str(refused.value).startswith(f"augmentation: {said}")


def test_every_number_has_a_range_and_every_second_one_a_kind() -> None:
    names = set(vars(NONE))
    assert set(RANGES) == names - {"transform", "transform_settings"}
    assert set(BELONGS_TO) | set(BELONGS_TO.values()) <= names


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="file: unknown key in augmentation 'mosaik': did you mean 'mosaic'"):
        from_mapping(Recipe, {"augmentation": {"mosaik": 1}}, "file")
    with pytest.raises(ConfigError, match="augmentation: unknown key 'mosaik': did you mean 'mosaic'"):
        Recipe.of(augmentation={"mosaik": 0.5})
    with pytest.raises(ConfigError, match=r"file: augmentation\.rotate is 'far': expected a number"):
        from_mapping(Recipe, {"augmentation": {"rotate": "far"}}, "file")


def test_what_is_left_open_is_in_no_file_and_what_is_named_is_read_back() -> None:
    assert "augmentation" not in to_mapping(Recipe())
    recipe = Recipe.of(augmentation={"mosaic": 0.5, "rotate": 15, "scale": 1})
    assert to_mapping(recipe)["augmentation"] == {"mosaic": 0.5, "rotate": 15.0, "scale": 1.0}
    assert from_mapping(Recipe, to_mapping(recipe), "file") == recipe
    assert recipe.augmentation.kinds == ("mosaic", "rotate")
    assert not Augmentation(flip=0.5, scale=1.5, noise=3).composes


# Transforms of one's own


def test_a_transform_may_be_an_object_of_a_module_a_class_or_a_function() -> None:
    assert Augmentation(transform=KEPT).transform == f"{__name__}:KEPT"  # type: ignore[arg-type]
    assert Recipe.of(augmentation={"transform": double}).augmentation.transform == f"{__name__}:double"
    name = name_of(v2.RandomGrayscale)
    assert name.endswith(":RandomGrayscale")
    made = make_transform(Augmentation(transform=name, transform_settings={"p": 1.0}))
    assert isinstance(made, v2.RandomGrayscale)
    assert made.p == 1.0
    assert make_transform(Augmentation(transform=f"{__name__}:KEPT")) is KEPT
    assert make_transform(Augmentation(transform=f"{__name__}:double")) is double
    own = make_transform(Augmentation(transform=f"{__name__}:flips", transform_settings={"p": 0.25}))
    assert own.p == 0.25  # type: ignore[attr-defined]


def test_an_object_without_a_name_says_how_it_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="transform of type RandomGrayscale has no name that another process could"):
        Augmentation(transform=v2.RandomGrayscale())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"transform '.*lambda.*' has no name that another process could"):
        Augmentation(transform=lambda image, target: (image, target))  # type: ignore[arg-type]
    shown = v2.RandomGrayscale()
    monkeypatch.setattr(sys.modules["__main__"], "shown", shown, raising=False)
    assert name_of(shown).endswith(":shown")


@pytest.mark.parametrize(("text", "settings", "said"), [
    ("nowhere_at_all:flip", {}, "there is no module 'nowhere_at_all'"),
    ("torchvision.transforms.v2:RandomGreyscale", {}, "unknown attribute 'RandomGreyscale'"),
    (f"{__name__}:NUMBER", {}, "cannot be called: expected one of torchvision.transforms.v2, or a function"),
    (f"{__name__}:number", {}, "made a value of type int: expected one that is called with"),
    (f"{__name__}:KEPT", {"p": 0.5}, "is finished, but settings were given: give its class instead"),
    ("torchvision.transforms.v2:RandomGrayscale", {"q": 1}, "unknown setting of transform 'torchvision.*': 'q'|'q'"),
    ("torchvision.transforms.v2:RandomGrayscale", {"p": 7}, "cannot be made of these settings"),
], ids=str)  # fmt: skip
def test_a_transform_that_cannot_be_made_is_named(text: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_transform(Augmentation(transform=text, transform_settings=settings))
