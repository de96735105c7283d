"""`mapopt convert`: a data set in another layout, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mapopt.commands.data_command import DataCommand
from mapopt.commands.data_sets import describe_written
from mapopt.data.writing import Format


@dataclass(frozen=True, kw_only=True)
class Convert(DataCommand):
    """Write a data set in another layout: COCO, Pascal VOC or YOLO.

    Sets, names of images and categories, ids of categories, images without objects and every box are kept, as exactly
    as the layout can say them; what it cannot hold is said. The data are read only, and the output folder is there as
    a whole or not at all.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt convert cells --to yolo --out cells-yolo",
        "mapopt convert --data instances.json --to voc --out cells-voc --images copy",
    )
    positional: ClassVar[str] = "data"

    data: Path
    """A folder of COCO, Pascal VOC or YOLO, a YOLO data.yaml, or a COCO .json."""
    to: Format
    """What to write."""

    def run(self) -> None:
        """Reads, writes, and says what was written."""
        from mapopt.data.converting import convert

        written = convert(
            self.data,
            self.out,
            to=self.to,
            layout=self.layout,
            invalid=self.invalid,
            images=self.images,
            overwrite=self.overwrite,
        )
        describe_written(written)
