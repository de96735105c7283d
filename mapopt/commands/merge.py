"""`mapopt merge`: several data sets as one, categories by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mapopt.commands.command import Command
from mapopt.commands.data_sets import describe_written, objects_table
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout
from mapopt.data.writing import Format, ImageFiles
from mapopt.fields import NOT_A_SETTING


@dataclass(frozen=True, kw_only=True)
class Merge(Command):
    """Put data sets together, categories by name: train with train, val with val, test with test.

    A file of renames says which names mean the same and what is left out: lines "old name: new name", or "old name:
    null", for all sources or indented under the name of one. Images and objects get new ids; an image whose file name
    an earlier source has gets the name of its source in front. Whatever collides is said.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt merge --data reef tank --out fish",
        "mapopt merge --data reef tank --renames renames.yaml --to yolo --out fish",
    )

    data: tuple[Path, ...]
    """Folders of COCO, Pascal VOC or YOLO, YOLO data.yaml files, or COCO .json files; two or more."""
    renames: Path | None = None
    """A YAML file: old names of categories with new ones, or null to leave a category out."""
    to: Format = "coco"
    """What to write."""
    out: Path
    """The new folder."""
    layout: Layout = "auto"
    """What the data are; auto finds out for each."""
    invalid: Invalid = "error"
    """What to do with boxes outside their image or without area: error, clip or drop."""
    images: ImageFiles = "link"
    """link gives the image files another name (a hard link, a copy where there is none); none writes no images."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the data set that mapopt wrote into the folder."""

    def run(self) -> None:
        """Merges, writes, and prints what each source brings and what came of it."""
        from rich.console import Console

        from mapopt.data.merging import merge
        from mapopt.evaluation.text_tables import print_table

        merged = merge(
            self.data,
            self.out,
            renames=self.renames,
            to=self.to,
            layout=self.layout,
            invalid=self.invalid,
            images=self.images,
            overwrite=self.overwrite,
        )
        print_table(objects_table(merged.sources, title="what the sources bring"), Console())
        describe_written(merged)

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        return "Nothing was kept, and what was in the output folder before is still there."
