"""Draws the figures of a training run, so that one sees in its folder how it went and what it was given.

They are drawn in memory, so that a failure or Ctrl-C in the middle leaves no half of a file. Nothing here trains: the
same figures come from a folder that was copied, or whose run was killed and resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mapopt.data.files import read_json
from mapopt.data.settings import DataSettings
from mapopt.data.splits import Splits
from mapopt.devices import choose_device
from mapopt.drawing import label_plots, run_plots
from mapopt.drawing.evaluation_figures import draw_main_figures
from mapopt.drawing.pages import new_page, png, styled
from mapopt.drawing.sample_sheets import PICTURES, describe_strength, draw_hits, draw_samples
from mapopt.drawing.tiles import as_png
from mapopt.errors import DataError, StoreError
from mapopt.evaluation.findings import Questions, measure
from mapopt.evaluation.inputs import Predictions, named_ground_truth
from mapopt.evaluation.numbers import short
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.history import Round
from mapopt.training.run_files import BEST, LAST, RESULT
from mapopt.training.run_folder import FINGERPRINTS
from mapopt.training.samples import first_strengths, training_samples, without_transform
from mapopt.training.trained_detector import TrainedDetector

_ROWS = 40
"""Classes that have a row in a chart."""


def draw_run(
    history: Sequence[Round],
    detector: TrainedDetector,
    splits: Splits,
    *,
    test: Mapping[str, float] | None = None,
    own_transform: bool = False,
) -> dict[str, bytes]:
    """Returns every figure of a run as PNG by file name, those of `mapopt.training.run_files.FIGURES`.

    Args:
        history: its rounds, at least one.
        detector: with the weights that val AP selected.
        splits: what it was trained with.
        test: its numbers on the test split, where it was tested.
        own_transform: augment with the transform of one's own that the recipe names: a file alone imports nothing.
    """
    checkpoint, val = detector.checkpoint, splits.val
    selected = len(checkpoint.history) - 1
    about = f"The val split with the weights of round {selected + 1}."
    truth = named_ground_truth(val.annotations, name="val", by_position=True)
    predictions = Predictions(name="val", detections=detector.detect_as(val))
    findings = measure(truth, predictions, Questions(resamples=0))
    with styled():
        pages = {"results.png": _results(history, selected, test, splits), "labels.png": _labels(splits)}
        figures = {name: png(page, dpi=150) for name, page in pages.items()}
    figures["train_batch.png"] = _train_batch(history[0], checkpoint, splits, own_transform=own_transform)
    figures["val_pictures.png"] = as_png(draw_hits(findings, val, about=about))
    return figures | draw_main_figures(findings, about=about)


def draw_run_folder(
    folder: str | Path, *, device: str = "auto", data: str | None = None, detector: str | None = None
) -> dict[str, bytes]:
    """Returns the figures of a run from its folder, whether it is finished, was killed or still goes on.

    Args:
        folder: of `mapopt train`.
        device: where the detector runs on the val split.
        data: where the images lie now, or those that were in memory; None reads them where they were.
        detector: module:attribute, if it is one of your own; a file alone imports nothing.

    Raises:
        StoreError: there is no run with a finished round.
        DataError: the images are not those that it was trained with.
    """
    folder = Path(folder)
    if not (folder / BEST).is_file():
        raise StoreError(f"{folder}: holds no run with a finished round (no {BEST}). Give the --out of `mapopt train`.")
    trained = TrainedDetector(folder / BEST, choose_device(device), detector=detector)
    last = Checkpoint.load(folder / LAST).history if (folder / LAST).is_file() else ()
    # A run killed between its two writes has a best state one round ahead of the last.
    history = max(last, trained.checkpoint.history, key=len)
    splits = trained.splits(_data(trained, data))
    stored = trained.checkpoint.settings.get(FINGERPRINTS)
    if stored is not None and stored != {name: images.fingerprint for name, images in splits.named()}:
        raise DataError(
            f"{folder}: the images or annotations are not those that it was trained with. Give the folder as it was "
            "then with --data."
        )
    result = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
    return draw_run(history, trained, splits, test=result.get("test"))


def _data(trained: TrainedDetector, data: str | None) -> DataSettings | None:
    """Returns how to read the images: as they were read, from another place if one is given."""
    if data is None:
        return None
    if "data" not in trained.checkpoint.settings:
        return DataSettings(data=data, bits=trained.bits)
    return replace(trained.trained_with(), data=data)


def _results(history: Sequence[Round], selected: int, test: Mapping[str, float] | None, splits: Splits) -> Figure:
    notes = splits.train.annotations
    shown = _frequent(splits, run_plots.LINES)
    best = history[selected] if 0 <= selected < len(history) else None
    weights = "without" if history[-1].interval.components else "with"
    caption = f"Losses are means over the steps of a round, {weights} the weights that they are minimized with."
    if best is not None:
        caption += f" Selected by val AP: round {selected + 1} of {len(history)}, val AP {short(best.val.ap)}"
        caption += "." if test is None else f", test AP {short(test['ap'])}."
    if history[-1].interval.diverged:
        caption += f" The run diverged in round {len(history)}: a loss or gradient was not finite."
    if len(shown) < len(notes.category_names):
        caption += f" In color: the {len(shown)} most frequent of {len(notes.category_names)} categories."
    figure = new_page(
        width=11.0,
        height=7.4,
        title="How the training went",
        caption=caption,
        key=run_plots.category_handles(shown, notes.category_names),
    )
    (losses, ap), (categories, rate) = figure.subplots(2, 2)
    run_plots.losses(history, losses)
    run_plots.average_precision(history, selected, test, ap)
    run_plots.category_ap(history, shown, categories)
    run_plots.learning_rate(history, rate)
    return figure


def _labels(splits: Splits) -> Figure:
    notes = splits.train.annotations
    shown = _frequent(splits, _ROWS, empty=True)
    height, width = splits.train.size
    counts = ", ".join(
        f"{len(images.annotations.boxes):,} in {len(images):,} {name} images" for name, images in splits.named()
    )
    caption = (
        f"Objects: {counts}. Sizes are in the pixels of the network, whose images are {height} x {width} (height x "
        "width); dashed: as wide as high. Darker: more boxes."
    )
    if len(shown) < len(notes.category_names):
        caption += f" Shown are the {len(shown)} most frequent of {len(notes.category_names)} classes."
    if len(shown) > label_plots.MANY:
        caption += " Numbers: train, val, test."
    roomy = len(shown) <= label_plots.MANY
    figure = new_page(
        width=12.0,
        height=max(3.6, 0.9 + 0.4 * len(shown)) if roomy else 0.7 + 0.23 * len(shown),
        title="What there is to learn",
        caption=caption,
        key=[Patch(color=color, label=name) for name, color in label_plots.SPLIT_COLORS.items()],
    )
    layout: Any = [["counts", "sizes", "positions"]] if roomy else [["counts", "sizes"], ["counts", "positions"]]
    axes = figure.subplot_mosaic(layout, width_ratios=(1.2, 1, 1) if roomy else (1.4, 1))
    label_plots.class_counts(splits, shown, axes["counts"])
    label_plots.box_sizes(splits, axes["sizes"])
    label_plots.box_positions(splits, axes["positions"])
    return figure


def _train_batch(first: Round, checkpoint: Checkpoint, splits: Splits, *, own_transform: bool) -> bytes:
    recipe = checkpoint.recipe if own_transform else without_transform(checkpoint.recipe)
    left_out = (
        "" if recipe == checkpoint.recipe else f" The transform {checkpoint.recipe.augmentation.transform} is left out."
    )
    strengths = first_strengths(first, checkpoint.recipe, PICTURES)
    factors = first_strengths(first, checkpoint.recipe, PICTURES, knob="augment_kinds")
    seed = checkpoint.snapshot.seed
    samples = training_samples(splits.train, recipe, strengths, factors=factors, seed=seed)
    about = (
        f"The first {len(samples)} images of the run as the detector is given them, "
        f"{describe_strength(strengths, recipe.augmentation)}.{left_out} "
        "Colors: categories; dashed: regions that are neither object nor background."
    )
    return as_png(draw_samples(samples, checkpoint.categories, title="What is trained on", about=about))


def _frequent(splits: Splits, count: int, *, empty: bool = False) -> list[int]:
    """Returns the categories with the largest numbers of training objects, in that order.

    Args:
        splits: the images.
        count: at the most.
        empty: whether those without any are among them.
    """
    objects = splits.train.annotations.counts
    order = np.argsort(-objects, kind="stable")[:count]
    return [int(place) for place in order if empty or objects[place]]
