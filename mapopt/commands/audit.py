"""`mapopt audit`: what is wrong with a data set, found without a model, drawn, and mended in a copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mapopt.commands.command import Command
from mapopt.data.layouts import Layout
from mapopt.data.writing import Format, ImageFiles, check_target
from mapopt.errors import ConfigError
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes, write_json
from mapopt.output import Output

if TYPE_CHECKING:
    from mapopt.data.auditing.audit import Audit as Audited

_STATUS = {"error": 4, "warning": 3}
"""Severity -> exit status."""


@dataclass(frozen=True, kw_only=True)
class Audit(Command):
    """Find what is wrong with a data set, without a model: labels, images, classes, and leaks between sets.

    Prints a table of the kinds of findings, and the clearest findings of each. An --out folder gets findings.json, a
    sheet of pictures for each kind, and figures of classes and sizes. --fix writes a mended copy into a folder of its
    own; the old data set is never touched. The exit status is 0 where there are notes at most, 3 where there are
    warnings, and 4 where there are errors; --fail-on says from where on it is not 0.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt audit cells --out audit",
        "mapopt audit cells --layout voc --kinds degenerate near_duplicate --fix cells-mended --to voc",
    )
    positional: ClassVar[str] = "data"

    data: Path
    """A folder of COCO, Pascal VOC or YOLO, a YOLO data.yaml, or a COCO .json."""
    layout: Layout = "auto"
    """What the data are; auto finds out."""
    kinds: tuple[str, ...] = ()
    """Look for these kinds of findings alone; all by default."""
    look: bool = True
    """Look at the image files; False checks labels and names alone."""
    workers: int = 0
    """Threads that decode images; the result is the same."""
    show: int = 3
    """Print so many findings of each kind."""
    fail_on: Literal["warning", "error", "never"] = "warning"
    """From which severity on the exit status is not 0."""
    out: Path | None = None
    """Folder for findings.json, sheets of pictures and figures."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the audit in --out, and the data set that mapopt wrote into --fix."""
    fix: Path | None = field(default=None, metadata=NOT_A_SETTING)
    """A new folder for a mended copy."""
    to: Format = "coco"
    """What the copy is written as."""
    images: ImageFiles = "link"
    """The copy's images: link gives the files another name (a hard link), copy copies them, none writes none."""

    def run(self) -> int:
        """Looks, writes and prints; returns the exit status."""
        if self.show < 0:
            raise ConfigError(f"show is {self.show}: expected 0 findings of each kind, or more")
        if self.fix is not None:
            check_target(self.fix, [self.data], overwrite=self.overwrite)
        if self.out is None:
            return self._audit(None)
        output = Output(self.out, ("findings.json", *(f"{kind}.jpg" for kind in _kinds()), "classes.png", "sizes.png"))
        with output.writing(overwrite=self.overwrite):
            return self._audit(output)

    def _audit(self, output: Output | None) -> int:
        from mapopt.data.auditing.audit import audit
        from mapopt.data.auditing.mending import mend

        result = audit(self.data, layout=self.layout, kinds=self.kinds, images=self.look, workers=self.workers)
        if output is not None:
            self._store(output, result)
        _describe(result, self.show)
        if output is not None:
            print(f"see {output.folder / 'findings.json'} and the pictures beside it")
        if self.fix is not None:
            from mapopt.commands.data_sets import describe_written

            print()
            describe_written(mend(result, self.fix, to=self.to, images=self.images, overwrite=self.overwrite))
        status = _STATUS.get(result.worst or "", 0)
        return 0 if self.fail_on == "never" or (self.fail_on == "error" and status < _STATUS["error"]) else status

    def _store(self, output: Output, result: Audited) -> None:
        """Writes everything, once there is everything."""
        from mapopt.drawing.audit_figures import draw_counts
        from mapopt.drawing.audit_sheets import draw_findings

        pictures = {**(draw_findings(result) if self.look else {}), **draw_counts(result)}
        if self.overwrite:
            output.clear()
        for name, content in pictures.items():
            write_bytes(output.folder / name, content)
        write_json(output.folder / "findings.json", result.document())

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        return "Nothing was kept, and the data are as they were."


def _kinds() -> tuple[str, ...]:
    from mapopt.data.auditing.findings import KINDS

    return tuple(KINDS)


def _describe(result: Audited, show: int) -> None:
    """Prints the kinds of findings as a table, and the clearest of each."""
    from rich.console import Console

    from mapopt.data.auditing.findings import KINDS
    from mapopt.evaluation.text_tables import new_table, print_table

    images = sum(len(raw.file_names) for raw in result.sets)
    objects = sum(len(raw.labels) for raw in result.sets)
    if not result.findings:
        print(f"{result.data}: nothing was found in {images} images with {objects} objects")
        return
    table = new_table(f"{result.data}: {images} images, {objects} objects, {len(result.findings)} findings")
    for name, side in (("severity", "left"), ("kind", "left"), ("count", "right"), ("what", "left"), ("to do", "left")):
        table.add_column(name, justify="right" if side == "right" else "left")
    for kind, count in result.counts.items():
        table.add_row(KINDS[kind].severity, kind, str(count), KINDS[kind].title, KINDS[kind].advice)
    print_table(table, Console())
    for kind in result.counts if show else ():
        print(f"{kind}{f' ({KINDS[kind].figure})' if KINDS[kind].figure else ''}")
        for finding in result.of(kind)[:show]:
            figure = "" if finding.figure is None else f"{finding.figure:7.3g}  "
            print(f"  {figure}{finding.part}: {finding.place} {finding.message}")
        if result.counts[kind] > show:
            print(f"  and {result.counts[kind] - show} more")
