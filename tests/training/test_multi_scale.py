"""Steps at other sizes: which, with which boxes, and that a run with them is still a function of the seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.interface import Targets
from mapopt.errors import ConfigError
from mapopt.training import Recipe, Task, Trainer
from mapopt.training.multi_scale import check_sizes, heights_of_steps, resized, step_size
from mapopt.training.one_network import check_one_network
from mapopt.training.packing import make_rows


def test_every_allowed_size_is_drawn_equally_often() -> None:
    sizes = [step_size((128, 192), 0.5, 3, seen, multiple=32, shortest=32) for seen in range(0, 16 * 300, 16)]
    assert set(sizes) <= {(64, 96), (96, 128), (96, 160), (128, 192), (160, 224), (160, 256), (192, 288)}
    assert {height for height, _ in sizes} == {64, 96, 128, 160, 192}
    counts = np.bincount([height // 32 for height, _ in sizes])[2:]
    assert counts.min() > 35, "as often"
    assert all(height % 32 == width % 32 == 0 for height, width in sizes)
    assert min(step_size((320, 320), 0.75, 3, seen, multiple=32, shortest=288) for seen in range(200)) == (288, 288)
    assert step_size((64, 64), 0.2, 3, 0, multiple=32, shortest=32) == (64, 64), "no other multiple is in reach"


@pytest.mark.parametrize("side", [64, 320, 640, 800, 1280])
def test_no_size_is_lost_to_rounding(side: int) -> None:
    for hundredths in range(1, 76):
        sides = heights_of_steps(side, hundredths / 100, multiple=32, shortest=32)
        exact = [32 * k for k in range(1, 100) if abs(32 * k - side) * 100 <= hundredths * side]
        assert sides.tolist() == exact


@pytest.mark.parametrize(
    ("detector", "side", "fraction", "remedy"),
    [
        ("nano", 64, 0.2, r"whose sides are multiples of 32, and no other height .*: expected 0\.5 or more, or leave"),
        ("nano", 32, 0.75, "in reach: expected larger images, or leave it out"),
        ("nano", 320, 0.05, r"expected 0\.1 or more"),
        ("ssd", 288, 0.1, r"expected 0\.12 or more"),
    ],
)
def test_where_there_is_no_other_size_it_is_said(detector: str, side: int, fraction: float, remedy: str) -> None:
    recipe = Recipe(detector=detector, loss="focal", multi_scale=fraction)
    with pytest.raises(ConfigError, match=f"multi_scale is {fraction} with images of {side}x{side}.*{remedy}"):
        make_rows(recipe, lanes=1, classes=2, size=(side, side), device=torch.device("cpu"))
    check_sizes(dataclasses.replace(recipe, multi_scale=0.0), (side, side))


def test_boxes_stay_with_their_pixels() -> None:
    images = torch.zeros(1, 1, 3, 64, 96)
    images[..., 16:32, 24:72] = 200.0
    targets = Targets(torch.tensor([[[[24.0, 16.0, 72.0, 32.0]]]]), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1).bool())
    for size in ((96, 160), (32, 32)):
        pixels, boxes = resized(images, targets, size)
        assert pixels.shape == (1, 1, 3, *size)
        left, top, right, bottom = boxes.boxes[0, 0, 0].round().long().tolist()
        bright = pixels[0, 0, 0] > 100
        assert bright[top:bottom, left:right].float().mean() > 0.9
        assert bright.sum() <= (bottom - top + 1) * (right - left + 1)
    same, unchanged = resized(images, targets, (64, 96))
    assert same is images
    assert unchanged is targets


@pytest.mark.parametrize("detector", ["nano", "ssdlite"])
def test_a_run_that_goes_on_has_the_same_bits(detector: str) -> None:
    loss = {"loss": "torchvision"} if detector == "ssdlite" else {}
    splits = make_shapes_splits(ShapesConfig(size=64), seed=3, train=6, val=2, test=2)
    recipe = Recipe(detector=detector, batch_size=2, multi_scale=0.5, **loss)
    whole, first, second, plain = (
        Trainer(Task(name="few", splits=splits, recipe=used), seed=1)
        for used in (recipe, recipe, recipe, Recipe(detector=detector, batch_size=2, **loss))
    )
    whole.train(12)
    first.train(6)
    second.restore(first.snapshot())
    second.train(6)
    plain.train(12)
    weights = [trainer.snapshot().tensors["weights"] for trainer in (whole, second, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_lanes_of_one_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"multi_scale is 0\.5 with detector 'tiny', whose lanes are one network"):
        Recipe(multi_scale=0.5)
    with pytest.raises(ConfigError, match=r"multi_scale is 0\.9: expected 0 \(one size\) to 0\.75, such as 0\.5"):
        Recipe(detector="nano", multi_scale=0.9)
    recipe = Recipe(detector="somebody:theirs", multi_scale=0.5)
    check_one_network(recipe, lanes=False)
    with pytest.raises(ConfigError, match="whose lanes are one network: leave it out"):
        check_one_network(recipe, lanes=True)
