"""Draws the figures of an evaluation, each a PNG that explains itself, readable with any number of categories.

They are drawn in memory, so that a failure or Ctrl-C in the middle leaves no half of a report.
"""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from mapopt.drawing import evaluation_plots as plots
from mapopt.drawing.pages import new_page, png, styled
from mapopt.evaluation.findings import Comparison, Findings, fraction_worse
from mapopt.evaluation.numbers import short
from mapopt.evaluation.tables import (
    FEWEST_IMAGES,
    DifferenceRow,
    category_rows,
    cause_rows,
    confusion_table,
    difference_rows,
    frequent,
    main_numbers,
)

_ROWS = 40
"""Categories that have a row in a chart."""
_CELLS = 20
"""Categories that have a row and a column in the confusion matrix."""


def draw_evaluation(findings: Findings, comparison: Comparison | None = None) -> dict[str, bytes]:
    """Returns every figure there is something to show in, as PNG by file name."""
    with styled():
        figures = {
            "precision_recall": _precision_recall(findings),
            "categories": _categories(findings),
            "f1": _f1(findings),
            "confusion": _confusion(findings),
            "causes": _causes(findings, comparison),
            "reliability": _reliability(findings),
            "comparison": None if comparison is None else _comparison(comparison),
        }
        return {f"{name}.png": png(figure, dpi=150) for name, figure in figures.items() if figure is not None}


def draw_main_figures(findings: Findings, *, about: str) -> dict[str, bytes]:
    """Returns precision against recall and confusions alone, as PNG by file name.

    Args:
        findings: of the detector.
        about: a sentence on what was evaluated, which captions begin with.
    """
    with styled():
        figures = {
            "precision_recall": _precision_recall(findings, about=f"{about} "),
            "confusion": _confusion(findings, about=f"{about} "),
        }
        return {f"{name}.png": png(figure, dpi=150) for name, figure in figures.items()}


def _precision_recall(findings: Findings, *, about: str = "") -> Figure:
    rows = category_rows(findings)
    shown = frequent(rows, plots.LINES)
    caption = (
        about
        + (
            "Best precision at that recall or more, as AP is counted from it: AP is the area under a curve. Left: mean "
            "over the categories at several IoU thresholds. Right: every category at one threshold, and their mean."
        )
        + _chosen(len(shown), sum(row.objects > 0 for row in rows), "in color")
    )
    figure = new_page(
        width=11.0,
        height=4.7,
        title="Precision against recall",
        caption=caption,
        key=plots.category_handles(findings, rows, shown),
    )
    left, right = figure.subplots(1, 2)
    plots.precision_by_iou(findings, left)
    plots.precision_by_category(findings, shown, right)
    return figure


def _categories(findings: Findings) -> Figure:
    rows = category_rows(findings)
    shown = frequent(rows, _ROWS)
    caption = "AP@[.5:.95] of each category, the most frequent on top. Dashed line: the mean over all categories, AP."
    if findings.intervals is not None:
        caption += (
            f" Bars: {findings.intervals.level:.0%} bootstrap intervals, {findings.questions.resamples} resamples of "
            f"the images; none for categories in fewer than {FEWEST_IMAGES} images. AP of few "
            "images is too large; a bar says what it would be on endlessly many like these, and may lie to the left."
        )
    caption += _chosen(len(shown), sum(row.objects > 0 for row in rows), "shown")
    figure = new_page(width=9.5, height=0.9 + 0.25 * len(shown), title="AP of each category", caption=caption)
    plots.category_scores(shown, main_numbers(findings)["ap"], figure.subplots())
    return figure


def _f1(findings: Findings) -> Figure:
    rows = category_rows(findings)
    shown = frequent(rows, plots.LINES)
    points = findings.analysis.operating_points
    best = points.pooled.best_f1
    caption = (
        "F1 of the boxes that score at least so much. Dots: each category's best threshold; with them the mean F1 is "
        f"{short(points.mean_f1)}. With all categories counted together, one threshold for all is best at "
        f"{short(float(best.threshold[0]))}: F1 {short(float(best.f1[0]))}."
    ) + _chosen(len(shown), sum(row.objects > 0 for row in rows), "in color")
    figure = new_page(
        width=9.5,
        height=4.6,
        title="F1 against the score threshold",
        caption=caption,
        key=plots.category_handles(findings, rows, shown),
    )
    plots.f1_by_threshold(findings, shown, figure.subplots())
    return figure


def _confusion(findings: Findings, *, about: str = "") -> Figure:
    table, confusion = confusion_table(findings, limit=_CELLS), findings.analysis.confusion
    caption = about + (
        f"Boxes with a score of at least {short(confusion.score_threshold)} (best F1 of all categories together), "
        f"matched at IoU {short(confusion.iou, digits=2)} whatever their category. Shade: fraction of the row. Last "
        "row: boxes where nothing is. Last column: objects that no box was matched to."
    )
    if table.others:
        caption += (
            f" By name: the {len(table.names)} most frequent of {len(table.names) + table.others} categories; where "
            "two others meet, right and confused ones are counted together."
        )
    size = len(table.counts)
    side = max(4.2, 1.4 + 0.42 * size) if size > 6 else 2.0 + 0.85 * size
    figure = new_page(width=side + 2.2, height=side + 0.6, title="What is taken for what", caption=caption)
    plots.confusion(table, figure.subplots())
    return figure


def _causes(findings: Findings, comparison: Comparison | None) -> Figure:
    caption = (
        f"AP at IoU {short(findings.questions.iou, digits=2)} that would be gained if the mistakes of one cause were "
        "put right, and their number in brackets. Mistakes hide one another, so that gains do not add up to what is "
        "missing. All boxes count, however low their score."
    )
    ours, other = cause_rows(findings), None if comparison is None else cause_rows(comparison.other)
    key = [] if comparison is None else plots.detector_handles(*_names(comparison))
    figure = new_page(
        width=9.0,
        height=3.8 if comparison is None else 4.8,
        title="What AP is lost to",
        caption=caption,
        key=key,
    )
    plots.causes(ours, other, figure.subplots())
    return figure


def _reliability(findings: Findings) -> Figure | None:
    every, kept = findings.calibration, findings.kept_calibration
    if every is None or kept is None or not every.pooled.counts.any():
        return None
    threshold = short(float(findings.analysis.operating_points.pooled.best_f1.threshold[0]))
    caption = (
        f"Fraction of boxes that are right at IoU {short(every.iou, digits=2)}, by score; a calibrated detector's bars "
        "end at the diagonal, and orange lines are what is missing. Expected calibration error, the mean over boxes of "
        f"these lines: {short(every.expected_calibration_error)}, and "
        f"{short(kept.pooled.expected_calibration_error)} of the boxes that score at least {threshold}, which is best "
        f"for F1. With IoU for right (LaECE) {short(every.localization_aware_error)}."
    )
    figure = new_page(width=7.2, height=5.6, title="What scores mean: calibration", caption=caption)
    above, below = figure.subplots(2, 1, height_ratios=(3.4, 1), sharex=True)
    plots.reliability(every.pooled, above)
    plots.score_counts(every.pooled, below)
    return figure


def _comparison(comparison: Comparison) -> Figure:
    main, categories = difference_rows(comparison)
    ours, other = _names(comparison)
    shown = sorted(categories, key=lambda row: -abs(row.difference.value))[:_ROWS]
    shown.sort(key=lambda row: -row.difference.value)
    caption = f"This is {ours}, the other {other}. Above: over all categories. Below: AP of each category."
    difference = comparison.difference
    if difference is not None:
        caption += (
            f" Bars: {difference.level:.0%} bootstrap intervals of the difference, both detectors on the same "
            f"{comparison.ours.questions.resamples} resamples of the images; gray where 0 is inside, "
            f"and no bar for categories in fewer than {FEWEST_IMAGES} images. AP is better in "
            f"{difference.better:.1%} of them and worse in {fraction_worse(difference):.1%}."
        )
        if len(categories) >= 20:
            caption += (
                f" Of {len(categories)} equal categories about {round((1 - difference.level) * len(categories))} "
            )
            caption += "would be in color by chance."
    if len(shown) < len(categories):
        caption += f" Shown are the {len(shown)} of {len(categories)} categories with the largest differences."
    rows = len(main) + max(3, len(shown))
    figure = new_page(
        width=9.5, height=1.5 + 0.27 * rows, title="AP of two detectors on the same images", caption=caption
    )
    above, below = figure.subplots(2, 1, height_ratios=(len(main), max(3, len(shown))))
    plots.differences([_upper(row) for row in main], above)
    above.set_xlabel("")
    plots.differences(shown, below)
    return figure


def _upper(row: DifferenceRow) -> DifferenceRow:
    return replace(row, name=row.name.upper())


def _names(comparison: Comparison) -> tuple[str, str]:
    """Returns what distinguishes the two: the shortest end of their paths that differs."""
    ours, other = (
        predictions.name.split("/") for predictions in (comparison.ours.predictions, comparison.other.predictions)
    )
    for length in range(1, max(len(ours), len(other))):
        if ours[-length:] != other[-length:]:
            return "/".join(ours[-length:]), "/".join(other[-length:])
    return "/".join(ours), "/".join(other)


def _chosen(shown: int, present: int, how: str) -> str:
    """Says which categories stand out, where it is not all of them."""
    return "" if shown == present else f" The {shown} most frequent of {present} categories are {how}."
