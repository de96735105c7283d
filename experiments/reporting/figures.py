"""The figures of a comparison, a set per task: what each shows, and the words that explain it.

The pages are plain values. They are drawn by `mapopt.drawing`, which alone imports matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mapopt.drawing.rows import (
    AnyPage,
    CurvesPage,
    FinalScore,
    KnobsPage,
    OverallPage,
    PicturesPage,
    ProfilesPage,
    ScoresPage,
)
from mapopt.drawing.styles import Family, styles_of
from mapopt.experiments.comparison.stored_run import StoredRun
from mapopt.experiments.reporting import tables
from mapopt.experiments.reporting.summary import Summary, TaskSummary
from mapopt.metrics.statistics import LEVEL

_LINES = 8
"""Methods that a figure can show as lines, beside the reference."""
_PICTURED = 6
"""Methods that a figure can show with pictures, beside the reference."""
_MANY = 12
"""Methods from which on colors say no more than the family."""


def draw_all(
    runs: Sequence[StoredRun], folder: Path, summary: Summary, *, families: Mapping[str, Family] | None = None
) -> list[Path]:
    """Draws every figure that the runs have data for.

    Args:
        runs: of one experiment.
        folder: gets ``<task>_<figure>.png``, and ``overall.png`` and ``profiles.png`` where there are several
            tasks.
        summary: of the same runs.
        families: which kind of loss the methods have, for their colors.

    Returns:
        The files, in the order they should be looked at.

    Raises:
        StoreError: a file cannot be written.
    """
    # matplotlib takes longer to import than a report takes to compute.
    from mapopt.drawing.comparison_figures import save_comparison

    mixed = _mixed(summary, families)
    return save_comparison(pages(runs, summary, families=mixed), styles_of(_methods(summary), mixed), Path(folder))


def pages(
    runs: Sequence[StoredRun], summary: Summary, *, families: Mapping[str, Family] | None = None
) -> list[AnyPage]:
    """Returns what is drawn; the arguments are those of `draw_all`."""
    mixed = _mixed(summary, families)
    many = mixed and len(_methods(summary)) > _MANY
    note = " Colors: warm for ranking losses, cool for pointwise ones." if many else ""
    shown: list[AnyPage | None] = []
    for task in summary.tasks:
        lines = tables.leading(task, summary.reference, count=_LINES)
        chosen = _chosen(task, lines, summary.reference)
        shown += [
            _final(runs, task, summary.reference, note),
            _rarest(runs, task, summary.reference, note),
            _against_images(runs, lines, chosen),
            _against_seconds(runs, lines, chosen),
            _knobs(runs, lines, chosen),
            _pictures(runs, task, summary.reference),
        ]
    if summary.overall:
        shown += [_overall(summary), _profiles(runs, summary)]
    return [page for page in shown if page is not None]


def _methods(summary: Summary) -> set[str]:
    return {method.method for task in summary.tasks for method in task.methods}


def _mixed(summary: Summary, families: Mapping[str, Family] | None) -> dict[str, Family]:
    """Returns the families where there are several: with one alone the other's colors would be wasted."""
    methods = _methods(summary)
    mixed = {name: family for name, family in (families or {}).items() if name in methods}
    return mixed if len(set(mixed.values())) > 1 else {}


def _final(runs: Sequence[StoredRun], task: TaskSummary, reference: str | None, note: str) -> ScoresPage:
    rows = tables.final_scores(runs, task, reference=reference)
    caption = "AP@[.5:.95] on the test split, which each run reads once, at its end. "
    return ScoresPage(
        name=f"{task.task}_final",
        title=f"Final test AP on {task.task}",
        caption=caption + _of_scores(rows) + note,
        rows=tuple(rows),
    )


def _rarest(runs: Sequence[StoredRun], task: TaskSummary, reference: str | None, note: str) -> ScoresPage | None:
    rows = tables.rarest_scores(runs, task, reference=reference)
    if not rows or not task.imbalanced or task.objects is None:
        return None
    caption = (
        f"AP@[.5:.95] of {task.rarest} alone, on the test split. It has {min(task.objects):,} of the "
        f"{sum(task.objects):,} training objects of {len(task.objects)} categories. "
    )
    return ScoresPage(
        name=f"{task.task}_rarest",
        title=f"Final test AP of {task.rarest}, the rarest category of {task.task}",
        caption=caption + _of_scores(rows) + note,
        rows=tuple(rows),
    )


def _of_scores(rows: Sequence[FinalScore]) -> str:
    """Says what the marks of a row mean."""
    text = (
        f"Small dots: runs, one per seed. Large dot and bar: interquartile mean and its {LEVEL:.0%} bootstrap "
        "interval, in numbers on the right."
    )
    reference = next((row.label for row in rows if row.reference), None)
    if reference is not None:
        text += (
            f" Dashed line: {reference}, the reference. The difference to it is that on common seeds, with an interval "
            "of its own; gray where that includes 0."
        )
    if any(row.diverged for row in rows):
        text += " A diverged run counts as AP 0 in the mean and its interval; it has no dot."
    return text


def _overall(summary: Summary) -> OverallPage:
    rows = tables.overall_scores(summary)
    caption = (
        f"AP@[.5:.95] on the test split: interquartile mean over the seeds with its {LEVEL:.0%} bootstrap interval, a "
        "color per task. On the right the same over the runs of all tasks together, by which the rows are ordered."
    )
    reference = next((row.label for row in rows if row.reference), None)
    if reference is not None:
        caption += (
            f" Dashed lines: {reference}, the reference. The difference to it is that on common seeds; gray where its "
            "interval includes 0."
        )
    return OverallPage(
        name="overall",
        title="Final test AP, task by task",
        caption=caption,
        rows=tuple(rows),
        tasks=tuple(task.task for task in summary.tasks),
    )


def _profiles(runs: Sequence[StoredRun], summary: Summary) -> ProfilesPage | None:
    curves = tables.profiles(runs, summary, count=_LINES)
    if not curves:
        return None
    left = len(summary.overall) - len(curves)
    return ProfilesPage(
        name="profiles",
        title="How near to the best method runs are",
        caption="For every fraction of the best method's test AP on the same task and seed, the fraction of a method's "
        f"runs over all {len(summary.tasks)} tasks that reach it, with its {LEVEL:.0%} bootstrap interval as a band. "
        "The higher a line, the safer the method; where it ends is how often the method is the best."
        + (f" Not shown are the {left} methods that are last over all tasks." if left else ""),
        curves=tuple(curves),
    )


_CURVES = (
    f"AP@[.5:.95] on the val split after every round: interquartile mean over the seeds, with its {LEVEL:.0%} "
    "bootstrap interval as a band, cut where it is far wider than the lines are apart. A run that ended "
    "early keeps its last value. "
)


def _against_images(runs: Sequence[StoredRun], task: TaskSummary, chosen: str) -> CurvesPage | None:
    curves = tables.learning_curves(runs, task, against="images")
    if not curves:
        return None
    return CurvesPage(
        name=f"{task.task}_images",
        title=f"Val AP against images on {task.task}",
        caption=f"{_CURVES}Images are those trained on; the search for settings and an agent's own training are not "
        f"in it.{chosen}",
        curves=tuple(curves),
        against="images",
    )


def _against_seconds(runs: Sequence[StoredRun], task: TaskSummary, chosen: str) -> CurvesPage | None:
    curves = tables.learning_curves(runs, task, against="seconds")
    devices = ", ".join(sorted({device for method in task.methods for device in method.devices}))
    by = "of the processor" if tables.clock_of(runs, task) == "processor_seconds" else "by the clock,"
    if not curves:
        return None
    return CurvesPage(
        name=f"{task.task}_seconds",
        title=f"Val AP against seconds on {task.task}",
        caption=f"{_CURVES}Seconds are a run's part of its fleet's, {by} on {devices}, training and evaluation; "
        f"the search for settings and an agent's own training are not in it.{chosen}",
        curves=tuple(curves),
        against="seconds",
    )


def _knobs(runs: Sequence[StoredRun], task: TaskSummary, chosen: str) -> KnobsPage | None:
    trajectories = tables.trajectories(runs, task)
    if not trajectories:
        return None
    return KnobsPage(
        name=f"{task.task}_knobs",
        title=f"What the methods did with the knobs on {task.task}",
        caption="Every knob that moved in any run, against the images trained: the median over the runs that were "
        "still going, with their middle half as a band. Within a round a knob stays, or moves linearly, as its method "
        f"says. A striped line, or one with several names, is several methods at once.{chosen}",
        trajectories=tuple(trajectories),
    )


def _pictures(runs: Sequence[StoredRun], task: TaskSummary, reference: str | None) -> PicturesPage | None:
    shown = tables.leading(task, reference, count=_PICTURED)
    kept = tables.picture_rows(runs, shown)
    if kept is None:
        return None
    seed, rows = kept
    return PicturesPage(
        name=f"{task.task}_pictures",
        title=f"The same test pictures of {task.task}, seen by different methods",
        caption=f"Ground truth first, then the boxes of each method's run with seed {seed}, and that run's test AP. "
        "Colors are categories, numbers are scores. Of each method its strongest boxes over all these pictures, as "
        "many as there are objects: losses differ in the scale of their scores, so no common threshold would be fair."
        + _chosen(task, shown, reference),
        rows=tuple(rows),
        categories=task.categories,
    )


def _chosen(task: TaskSummary, shown: TaskSummary, reference: str | None) -> str:
    """Says which methods are shown, where it is not all of them."""
    if len(shown.methods) == len(task.methods):
        return ""
    names = [method.method for method in shown.methods]
    leading = [method.method for method in task.methods[: len(names)]]
    best = names[:-1] if names[-1] == reference and names != leading else names
    beside = " and the reference" if len(best) < len(names) else ""
    return f" Shown are the {len(best)} of {len(task.methods)} methods with the best test AP{beside}."
