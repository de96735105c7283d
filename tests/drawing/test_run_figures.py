"""The figures of a run are whole with few and with many categories, and show the samples that were trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mapopt.data import Annotations, ImageSet, ShapesConfig, Splits, make_shapes_splits
from mapopt.drawing import run_figures as figures
from mapopt.drawing import run_plots
from mapopt.drawing.tiles import Mark, Tile, draw_sheet, wrap
from mapopt.training import Knobs, Recipe
from mapopt.training.batches import make_batch, make_plan
from mapopt.training.device_set import DeviceSet
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.samples import first_strengths, training_samples

WordsOf = Callable[[Figure], list[tuple[str, Bbox]]]


def played(index: int, categories: int, **changes: object) -> Round:
    interval = Interval(
        images=64,
        steps=4,
        seconds=1.0,
        class_loss=1.0 / (index + 1),
        box_loss=0.5,
        gradient_norm=1.0,
        gradient_norm_max=2.0,
        clipped=0.0,
        update_ratio=0.01,
        diverged=False,
    )
    ap = 0.1 * index
    scores = Scores(ap=ap, ap50=1.5 * ap, ap75=0.5 * ap, ar100=ap, per_category=(-1.0, *[ap] * (categories - 1)))
    knobs = Knobs(lr=0.1 / (index + 1), class_weight=1.0)
    return replace(
        Round(
            index=index,
            knobs=knobs,
            ramp_from=None,
            interval=interval,
            val=scores,
            images=64 * (index + 1),
            evaluated=8,
            seconds=1.0,
        ),
        **changes,
    )


def splits_of(categories: int) -> Splits:
    """Splits with so many categories, whose names are long; the first of them has no object."""
    made = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=24, val=8, test=8)

    def renamed(images: ImageSet) -> ImageSet:
        notes = images.annotations
        labels = 1 + np.arange(len(notes.boxes)) % (categories - 1)
        names = tuple(f"category of a long name {number}" for number in range(categories))
        columns = {field: getattr(notes, field) for field in Annotations.__dataclass_fields__}
        columns |= {"labels": labels, "category_names": names, "category_ids": np.arange(categories)}
        return replace(images, annotations=Annotations(**columns))

    return Splits(*(renamed(images) for _, images in made.named()))


@pytest.mark.parametrize(("categories", "rounds"), [(2, 1), (60, 5)])
def test_every_word_of_the_pages_is_inside(categories: int, rounds: int, words_of: WordsOf) -> None:
    splits, history = splits_of(categories), [played(index, categories) for index in range(rounds)]
    with figures.styled():
        test = {"ap": 0.2, "ap50": 0.3, "ap75": 0.1}
        pages = [figures._results(history, rounds - 1, test, splits), figures._labels(splits)]
        for page in pages:
            FigureCanvasAgg(page).draw()
            width, height = page.get_size_inches() * page.dpi
            for text, box in words_of(page):
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
                assert inside, f"{text!r} at {box}"


def test_losses_that_are_far_apart_are_on_a_logarithmic_axis_and_undefined_ones_are_left_out() -> None:
    steep = [played(index, 3) for index in range(3)]
    steep[2] = replace(steep[2], interval=replace(steep[2].interval, box_loss=1e-4))
    lost = replace(steep[1], interval=replace(steep[1].interval, class_loss=math.nan))
    with figures.styled():
        figure = figures.new_page(width=5, height=5, title="", caption="")
        (flat, logarithmic), (holed, _) = figure.subplots(2, 2)
        run_plots.losses([played(index, 3) for index in range(3)], flat)
        run_plots.losses(steep, logarithmic)
        run_plots.losses([steep[0], lost], holed)
    assert (flat.get_yscale(), logarithmic.get_yscale()) == ("linear", "log")
    assert np.isnan(holed.lines[0].get_ydata()).tolist() == [False, True]


def test_val_losses_stand_beside_those_of_training_with_the_same_weights() -> None:
    history = [played(0, 3), played(1, 3)]
    history = [replace(each, val=replace(each.val, class_loss=0.25, box_loss=-1.0)) for each in history]
    history[1] = replace(history[1], knobs=history[1].knobs.replace(class_weight=2.0))
    with figures.styled():
        axes = figures.new_page(width=5, height=5, title="", caption="").subplots()
        run_plots.losses(history, axes)
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert list(lines) == ["class, train", "class, val", "box, train"]
    assert lines["class, val"] == [0.25, 0.5]


def test_samples_are_those_of_the_first_step() -> None:
    images = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=24, val=8, test=8).train
    recipe, first = Recipe(batch_size=8), played(0, 3)
    ramped = replace(first, knobs=Knobs(augment=0.8), ramp_from=Knobs(augment=0.2))
    strengths = first_strengths(ramped, recipe, 12)
    assert len(strengths) == 12
    assert 0.2 < strengths[0] == strengths[7] < strengths[8] < 0.8
    samples = training_samples(images, recipe, strengths, seed=5)
    own, cpu = DeviceSet(images, torch.device("cpu")), torch.device("cpu")
    plan = make_plan([5], [0], [own], [first_strengths(ramped, recipe, 64)], cpu)
    pixels, targets = make_batch([own], plan, [0], [8], size=8)
    for place in range(8):
        assert samples[place].position == int(plan.order[0, place])
        assert np.abs(samples[place].after.pixels - pixels[0, place].permute(1, 2, 0).numpy()).max() <= 0.5
        real = targets.labels[0, place] >= 0
        assert np.array_equal(samples[place].after.boxes, targets.boxes[0, place][real].double().numpy())
    before = samples[0].before
    assert np.array_equal(before.pixels, images.pixels[samples[0].position].permute(1, 2, 0).numpy())


def test_a_sheet_holds_its_tiles_and_a_dashed_box_has_gaps() -> None:
    from PIL import Image

    red, blue = (255, 0, 0), (0, 0, 255)
    picture = Image.new("RGB", (100, 50), "black")
    marks = [Mark((10, 10, 40, 40), red), Mark((55, 10, 95, 40), blue, dashed=True)]
    sheet = draw_sheet([Tile(picture, marks)] * 3, title="t", about="a " * 300, legend=[("red", red)], side=200)
    assert sheet.width == 12 + 3 * 212
    pixels = np.array(sheet)
    solid, dashed = ((pixels == color).all(-1) for color in (red, blue))
    rows = solid.sum(1)
    assert rows.max() >= 3 * 60
    columns = dashed.sum(1).max()
    assert 3 * 30 < columns < 3 * 80
    lines = wrap("one two three", 60, 13)
    assert " ".join(lines) == "one two three"
    assert len(lines) > 1
