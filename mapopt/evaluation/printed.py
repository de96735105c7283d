"""What `mapopt evaluate` prints: the twelve lines everyone knows, and below them why they are what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mapopt.evaluation.findings import Comparison, Findings, fraction_worse
from mapopt.evaluation.numbers import short
from mapopt.evaluation.tables import (
    FEWEST_IMAGES,
    CategoryRow,
    DifferenceRow,
    category_rows,
    cause_rows,
    confusions,
    defined,
    difference_rows,
    frequent,
    main_numbers,
    worst,
)
from mapopt.metrics import AREA_RANGES, MAX_DETECTIONS, STATS
from mapopt.metrics.statistics import Estimate

LINES = 20
"""Categories that are printed; a file holds all."""
_FEW = 5

CAUSE_WORDS = {
    "class": "wrong category",
    "location": "badly placed",
    "both": "wrong and badly placed",
    "duplicate": "detected twice",
    "background": "nothing is there",
    "missed": "not detected",
    "false_positive": "all false positives",
    "false_negative": "all false negatives",
}
"""What causes are called where people read them."""


def describe(findings: Findings, comparison: Comparison | None = None) -> str:
    """Returns everything that is printed of a detector."""
    parts = [_head(findings), _categories(findings), _causes(findings), _summary(findings)]
    if findings.questions.worst:
        parts.append(_worst(findings))
    return "\n\n".join([*parts, *([] if comparison is None else [_comparison(comparison)])])


def _head(findings: Findings) -> str:
    truth, predictions = findings.truth, findings.predictions
    lines = [f" Warning: {warning}.\n" for warning in predictions.warnings]
    unseen = findings.without_detections
    without = "" if not unseen else f"; {unseen} of {len(truth.notes)} images have no detection"
    lines.append(f"{predictions.name}: {len(truth.notes)} images, {len(truth.notes.labels)} objects{without}")
    lines += _lines(findings)
    if findings.intervals is not None:
        numbers = ", ".join(f"{name.upper()} {_interval(ap)}" for name, ap in main_numbers(findings).items())
        lines.append(
            f"\n {findings.intervals.level:.0%} bootstrap intervals over images ({findings.questions.resamples} "
            f"resamples):\n {numbers}"
        )
        if any(ap.value > ap.high for ap in main_numbers(findings).values()):
            lines.append(
                " AP of few images is too large; an interval says what it would be on endlessly many like these"
            )
    if predictions.left_out:
        lines.append(
            f" {predictions.left_out} boxes were left out: the ground truth does not list their image or their category"
        )
    lines += [f" {remark}" for remark in (*truth.remarks, *predictions.remarks)]
    return "\n".join(lines)


def _categories(findings: Findings) -> str:
    rows = category_rows(findings)
    shown = rows if len(rows) <= LINES else frequent(rows, LINES)
    level = "" if findings.intervals is None else f" [{findings.intervals.level:.0%}]"
    head = ["category", "objects", f"AP{level}", "AP50", "score", "precision", "recall", "F1", "oLRP", "place", "FP"]
    table = [[*head, "FN"], *map(_category, shown)]
    lines = [
        f" Each category, at IoU {short(findings.questions.iou, digits=2)}: the score threshold with the best F1, and "
        "the optimal LRP with its parts",
        *_aligned(table),
    ]
    if findings.intervals is not None and any(0 < row.images < FEWEST_IMAGES for row in shown):
        lines.append(f" Categories in fewer than {FEWEST_IMAGES} images have no interval.")
    if len(shown) < len(rows):
        last = ", ".join(f"{row.name} {short(row.ap.value)}" for row in worst(rows, _FEW))
        lines.append(
            f" The {len(shown)} most frequent of {len(rows)} categories; report.json, in --out, has all.\n"
            f" Worst: {last}."
        )
    return "\n".join(lines)


def _category(row: CategoryRow) -> list[str]:
    best, lowest = row.best_f1, row.optimal_lrp
    numbers = (
        *(row.ap50, best.threshold, best.precision, best.recall, best.f1, lowest.lrp),
        *(lowest.lrp_localization, lowest.lrp_false_positive, lowest.lrp_false_negative),
    )
    return [row.name, f"{row.objects:,}", _interval(row.ap), *map(_number, numbers)]


def _causes(findings: Findings) -> str:
    table = [["cause of mistakes", "count", "dAP"]]
    table += [[CAUSE_WORDS[row.cause], f"{row.count:,}", _number(row.delta_ap)] for row in cause_rows(findings)]
    iou = short(findings.questions.iou, digits=2)
    lines = [f" What AP at IoU {iou} would gain without the mistakes of one cause", *_aligned(table)]
    pairs = confusions(findings, _FEW)
    if pairs:
        lines.append(" Most confused: " + ", ".join(f"{name} as {other} {count}" for name, other, count in pairs))
    return "\n".join(lines)


def _summary(findings: Findings) -> str:
    points = findings.analysis.operating_points
    best, iou = points.pooled.best_f1, short(findings.questions.iou, digits=2)
    eleven, area = (_number(voc.mean) for voc in findings.voc)
    rows = [
        ["mean optimal LRP error (moLRP)", _number(points.mean_optimal_lrp)],
        ["mean best F1", _number(points.mean_f1)],
        [
            "best F1 with one score threshold",
            f"{_number(float(best.f1[0]))} at {_number(float(best.threshold[0]))}",
        ],
        ["AP-fixed (10,000 boxes per category)", _number(defined(findings.ap_fixed))],
        ["AP-pool (one ranking of all categories)", _number(defined(findings.ap_pool))],
        [f"Pascal VOC 2007 AP (11-point) at {iou}", eleven],
        [f"Pascal VOC 2010 AP (area) at {iou}", area],
    ]
    if findings.calibration is None or findings.kept_calibration is None:
        rows.append(["calibration error", "undefined: scores are not between 0 and 1"])
    else:
        every, kept = (
            _number(calibration.expected_calibration_error)
            for calibration in (findings.calibration, findings.kept_calibration)
        )
        rows.append(["calibration error (ECE)", f"{every}, and {kept} of boxes above that one threshold"])
        rows.append(["localization-aware (LaECE)", _number(findings.calibration.localization_aware_error)])
    width = max(len(name) for name, _ in rows)
    return "\n".join(f" {name:{width}}  {value}" for name, value in rows)


def _worst(findings: Findings) -> str:
    if not findings.worst:
        return " No image costs AP: without any of them it is no larger"
    table = [["image", "dAP", "objects", "missed", "false alarms"]]
    for image in findings.worst:
        name = image.file_name or f"image {image.id}"
        counts = (image.objects, image.missed, image.false_positives)
        table.append([name, short(image.cost, digits=4), *map(str, counts)])
    iou = short(findings.questions.iou, digits=2)
    head = f" The images that cost most AP: what it gains without one; mistakes at IoU {iou} and the threshold with the"
    return "\n".join([f"{head} best F1", *_aligned(table)])


def _comparison(comparison: Comparison) -> str:
    main, categories = difference_rows(comparison)
    difference = comparison.difference
    ordered = sorted(categories, key=lambda row: -abs(row.difference.value))
    shown = categories if len(categories) <= LINES else ordered[:LINES]
    level = "" if difference is None else f" [{difference.level:.0%}]"
    rows = [["", "objects", "this", "other", f"difference{level}"]]
    rows += [_difference(row, name=row.name.upper()) for row in main]
    rows += [_difference(row, name=row.name) for row in shown]
    lines = [f" Warning: {warning}." for warning in comparison.other.predictions.warnings]
    lines += [f" Compared with {comparison.other.predictions.name} on the same images", *_aligned(rows)]
    if len(shown) < len(categories):
        lines.append(f" The {len(shown)} of {len(categories)} categories with the largest differences.")
    if difference is not None:
        lines.append(
            f" AP is better in {difference.better:.1%} of the resamples, worse in {fraction_worse(difference):.1%}; "
            "an interval without 0 is a difference."
        )
    table = [["cause of mistakes", "this", "other", "dAP, this", "other", "difference"]]
    for ours, other in zip(cause_rows(comparison.ours), cause_rows(comparison.other), strict=True):
        gain = ours.delta_ap - other.delta_ap
        numbers = [_number(ours.delta_ap), _number(other.delta_ap), short(gain, signed=True)]
        table.append([CAUSE_WORDS[ours.cause], f"{ours.count:,}", f"{other.count:,}", *numbers])
    return "\n".join([*lines, "", *_aligned(table)])


def _difference(row: DifferenceRow, *, name: str) -> list[str]:
    return [name, f"{row.objects:,}", _number(row.ours), _number(row.other), _interval(row.difference, signed=True)]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table: names to the left, numbers to the right, those without an interval below others."""
    interval = max((len(cell) - cell.find(" [") for row in table[1:] for cell in row[1:] if " [" in cell), default=0)
    columns = {place for row in table[1:] for place, cell in enumerate(row) if place and " [" in cell}
    table = [
        [
            cell + " " * interval if place in columns and " [" not in cell and number else cell
            for place, cell in enumerate(row)
        ]
        for number, row in enumerate(table)
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        " "
        + "  ".join(
            f"{cell:{'>' if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (short(number, signed=signed) for number in numbers)
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def _number(value: float) -> str:
    return "–" if value in (float("inf"), float("-inf")) else short(value)


def _lines(findings: Findings) -> list[str]:
    """Returns pycocotools' twelve lines; with other limits on detections a line of recall for each."""
    report, limits = findings.report, findings.report.max_detections
    last = limits[-1]
    if limits == MAX_DETECTIONS:
        return [f" {_line(name)} = {value:0.3f}" for name, value in zip(STATS, report.stats, strict=True)]
    names = [name for name in STATS if not (name.startswith("ar") and name[2:].isdecimal())]
    precisions = [name for name in names if name.startswith("ap")]
    lines = [f" {_line(name, last)} = {getattr(report, name):0.3f}" for name in precisions]
    lines += [f" {_line('ar', limit)} = {report.average_recall(max_detections=limit):0.3f}" for limit in limits]
    return lines + [f" {_line(name, last)} = {getattr(report, name):0.3f}" for name in names[len(precisions) :]]


def _line(name: str, limit: int = MAX_DETECTIONS[-1]) -> str:
    """Returns one of the twelve lines without its number, letter for letter as pycocotools prints it."""
    kind, rest = name[:2], name[2:].removeprefix("_")
    area = rest if rest in AREA_RANGES else "all"
    limit = int(rest) if kind == "ar" and rest.isdecimal() else limit
    iou = f"0.{rest}" if kind == "ap" and rest.isdecimal() else "0.50:0.95"
    title = "Average Precision" if kind == "ap" else "Average Recall"
    return f"{title:<18} ({kind.upper()}) @[ IoU={iou:<9} | area={area:>6s} | maxDets={limit:>3d} ]"
