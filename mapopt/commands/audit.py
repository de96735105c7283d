"""`mapopt audit`: what is wrong with a data set, found without a detector or with one, drawn, and mended in a copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mapopt.commands.command import Command
from mapopt.data.auditing.findings import check_mended
from mapopt.data.layouts import Layout
from mapopt.data.writing import Format, ImageFiles, check_target
from mapopt.devices import check_device
from mapopt.errors import ConfigError
from mapopt.evaluation.label_audit.settings import Demand, FoldSettings
from mapopt.fields import NOT_A_SETTING
from mapopt.files import write_bytes, write_json
from mapopt.output import Output
from mapopt.training.run_files import checkpoint_path

if TYPE_CHECKING:
    from mapopt.data.auditing.audit import Audit as Audited

_STATUS = {"error": 4, "warning": 3}
"""Severity -> exit status."""
_LEAVE = "leave it out"


@dataclass(frozen=True, kw_only=True)
class Audit(Command):
    """Find what is wrong with a data set: labels, images, classes, and leaks between sets.

    With --model, or with --folds 4, which trains a small detector for each fold at hand, labels that detectors
    contradict are found, too: overlooked objects, labels without an object, wrong classes, badly placed boxes and
    second boxes, each with what AP gains when it is mended. Prints a table of the kinds of findings, and the clearest
    findings of each. An --out folder gets findings.json, a sheet of pictures for each kind, and figures of classes and
    sizes. --fix writes a mended copy into a folder of its own; the old data set is never touched. The exit status is 0
    where there are notes at most, 3 where there are warnings, and 4 where there are errors; --fail-on says from where
    on it is not 0.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt audit cells --out audit",
        "mapopt audit cells --layout voc --kinds degenerate near_duplicate --fix cells-mended --to voc",
        "mapopt audit cells --folds 4 --out audit",
        "mapopt audit cells --model runs/cells --fix mended --fix-kinds overlooked --fix-confidence 0.9",
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
    model: Path | None = None
    """best.pt of a training run, or the run's folder: a detector that looks for labels that it contradicts. It must not
    have learned from these images, or it repeats their faults."""
    detector: str | None = None
    """module:attribute of the model's detector, if it is one of your own; a file alone imports nothing."""
    folds: int = 0
    """In place of a model: divide the images into so many folds, train a tiny detector for each on the others, and let
    it look at the fold. 0 trains nothing."""
    fold_images: int | None = None
    """How many images each of them is trained on; by default 30 times those of the set, 3200 to 25 600."""
    size: tuple[int, int] | None = None
    """(height, width) that images are fitted into for them; by default as large as the objects need, up to 288."""
    threads: int = 1
    """Threads of the CPU."""
    confidence: float = 0.5
    """Report labels that detectors contradict from this confidence on, 0 to 1."""
    prices: int = 50
    """Say of so many findings of each kind and set what AP gains when they are mended; 0 leaves prices out."""
    price_by_training: int = 0
    """Also train so many tiny detectors on the train set as it is, and as many for each kind with all its findings
    mended, --fold-images each, and say what val AP gains; 0 trains none."""
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
    fix_kinds: tuple[str, ...] = ()
    """What to mend; by default what can be mended without a look at it, and nothing that a detector said."""
    fix_confidence: float = 0.9
    """Mend what a detector said from this confidence on."""
    to: Format = "coco"
    """What the copy is written as."""
    images: ImageFiles = "link"
    """The copy's images: link gives the files another name (a hard link), copy copies them, none writes none."""

    def run(self) -> int:
        """Looks, writes and prints; returns the exit status."""
        if self.show < 0:
            raise ConfigError(f"show is {self.show}: expected 0 findings of each kind, or more")
        self._check_detectors()
        if self.fix is not None:
            check_mended(self.fix_kinds)
            check_target(self.fix, [self.data], overwrite=self.overwrite)
        if self.out is None:
            return self._audit(None)
        output = Output(self.out, ("findings.json", *(f"{kind}.jpg" for kind in _kinds()), "classes.png", "sizes.png"))
        with output.writing(overwrite=self.overwrite):
            return self._audit(output)

    def _check_detectors(self) -> None:
        """Finds what is wrong with the flags about detectors before torch is imported and an image is read."""
        if self.model is None and not self.folds:
            for name in ("detector", "size", "fold_images", "price_by_training"):
                if getattr(self, name) not in (None, 0):
                    raise ConfigError(f"--{name.replace('_', '-')} is given without --model or --folds: {_LEAVE}")
            return
        if self.model is not None and self.folds:
            raise ConfigError(
                "both --model and --folds are given: expected one of them, to say who looks at the labels"
            )
        if self.folds and self.detector is not None:
            raise ConfigError(f"--detector is given with --folds, which train the tiny one: {_LEAVE}")
        if not self.look:
            raise ConfigError("--look is False, but detectors have to look at the images: leave it out")
        check_device(self.device, threads=self.threads)
        self._demand().wanted()
        if self.model is not None:
            if self.size is not None and not self.price_by_training:
                raise ConfigError(f"--size is given with --model, which has its own: {_LEAVE}")
            if self.fold_images is not None and not self.price_by_training:
                raise ConfigError(f"--fold-images is given with --model, which is trained already: {_LEAVE}")
            checkpoint_path(self.model)
        else:
            self._folds().check()

    def _demand(self) -> Demand:
        return Demand(
            confidence=self.confidence,
            prices=self.prices,
            kinds=self.kinds,
            training_seeds=self.price_by_training,
            training=FoldSettings(images=self.fold_images, size=self.size, seed=self.seed),
            seed=self.seed,
        )

    def _folds(self) -> FoldSettings:
        return FoldSettings(folds=self.folds, images=self.fold_images, size=self.size, seed=self.seed)

    def _find(self) -> Audited:
        """Returns what is wrong."""
        if self.model is None and not self.folds:
            from mapopt.data.auditing.audit import audit

            return audit(self.data, layout=self.layout, kinds=self.kinds, images=self.look, workers=self.workers)
        from mapopt.evaluation.label_audit.audit import audit_labels

        return audit_labels(
            self.data,
            self._folds() if self.model is None else self.model,
            demand=self._demand(),
            layout=self.layout,
            workers=self.workers,
            device=self.device,
            threads=self.threads,
            detector=self.detector,
        )

    def _audit(self, output: Output | None) -> int:
        from mapopt.data.auditing.mending import mend

        result = self._find()
        if output is not None:
            self._store(output, result)
        _describe(result, self.show)
        if output is not None:
            print(f"see {output.folder / 'findings.json'} and the pictures beside it")
        if self.fix is not None:
            from mapopt.commands.data_sets import describe_written

            print()
            describe_written(
                mend(
                    result,
                    self.fix,
                    to=self.to,
                    images=self.images,
                    overwrite=self.overwrite,
                    kinds=self.fix_kinds,
                    confidence=self.fix_confidence,
                )
            )
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
    priced = ("AP gained",) if result.prices else ()
    for name in ("severity", "kind", "count", *priced, "what", "to do"):
        table.add_column(name, justify="right" if name in ("count", *priced) else "left")
    for kind, count in result.counts.items():
        gains = [_gain(price.gain) + f" {price.part}" for price in result.prices if price.kind == kind]
        row = (*(("\n".join(gains),) if priced else ()), KINDS[kind].title, KINDS[kind].advice)
        table.add_row(KINDS[kind].severity, kind, str(count), *row)
    print_table(table, Console())
    for note in result.notes:
        print(note)
    for whole in result.prices:
        if whole.kind == "all":
            print(f"{whole.part}: AP {whole.before:.3f} as labeled, {whole.after:.3f} to be expected once it is mended")
    for trained in result.trained_prices:
        between = "" if trained.low != trained.low else f" [{_gain(trained.low)}, {_gain(trained.high)}]"
        print(
            f"trained with {trained.findings} x {trained.kind} mended: val AP {_gain(trained.gain)}{between} over "
            f"{trained.before:.3f}, {trained.seeds} pairs of lanes of {trained.images} images, "
            f"{trained.processor_seconds:.0f} processor seconds"
        )
    suspect = result.suspect_images()[:show]
    if suspect:
        shown = ", ".join(f"{each['part']}: {each['image']} ({each['expected']:.1f})" for each in suspect)
        print(f"images with most wrong labels to be expected: {shown}")
    for kind in result.counts if show else ():
        print(f"{kind}{f' ({KINDS[kind].figure})' if KINDS[kind].figure else ''}")
        for finding in result.of(kind)[:show]:
            figure = "" if finding.figure is None else f"{finding.figure:7.3g}  "
            price = "" if finding.price is None else f"; AP {_gain(finding.price)} when mended"
            print(f"  {figure}{finding.part}: {finding.place} {finding.message}{price}")
        if result.counts[kind] > show:
            print(f"  and {result.counts[kind] - show} more")


def _gain(gain: float) -> str:
    return f"{gain:+.4f}"
