"""`mapopt split`: train, val and test sets of what is one set, or of sets that are to be divided anew."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from mapopt.commands.data_command import DataCommand
from mapopt.commands.data_sets import describe_written
from mapopt.data.splitting import SplitSettings, split
from mapopt.data.writing import Format


@dataclass(frozen=True, kw_only=True)
class Split(SplitSettings, DataCommand):
    """Divide a data set into train, val and test sets, each with its fraction of every class.

    Rare classes come first: a class that is in as many images (or groups) as there are sets comes into every set. With
    --group images of one source stay together, so that no picture is tested on that was trained on in another form.
    The objects of every class in every set are printed.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt split instances.json --out cells-split",
        "mapopt split cells --pool --group source --fractions 0.8 0.1 0.1 --to yolo --out cells-again",
    )
    positional: ClassVar[str] = "data"

    data: Path
    """A folder of COCO, Pascal VOC or YOLO, a YOLO data.yaml, or a COCO .json."""
    to: Format = "coco"
    """What to write."""

    def run(self) -> None:
        """Divides, writes, and prints the sets."""
        settings = SplitSettings(**{item.name: getattr(self, item.name) for item in fields(SplitSettings)})
        written = split(
            self.data,
            self.out,
            settings,
            to=self.to,
            layout=self.layout,
            invalid=self.invalid,
            images=self.images,
            overwrite=self.overwrite,
        )
        describe_written(written)
