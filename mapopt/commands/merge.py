"""`mapopt merge`: several data sets as one, categories by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mapopt.commands.data_command import DataCommand
from mapopt.commands.data_sets import describe_written, objects_table
from mapopt.data.writing import Format


@dataclass(frozen=True, kw_only=True)
class Merge(DataCommand):
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
