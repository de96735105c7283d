"""What the commands that write a data set have in common: what is read, where it goes, and what becomes of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mapopt.commands.command import Command
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout
from mapopt.data.writing import ImageFiles
from mapopt.fields import NOT_A_SETTING


@dataclass(frozen=True, kw_only=True)
class DataCommand(Command):
    """A command that writes a data set into a folder of its own, which is there as a whole or not at all."""

    out: Path
    """The new folder."""
    layout: Layout = "auto"
    """What the data are; auto finds out."""
    invalid: Invalid = "error"
    """What to do with boxes outside their image or without area: error, clip or drop."""
    images: ImageFiles = "link"
    """link gives the image files another name (a hard link, a copy where there is none); none writes no images."""
    overwrite: bool = field(default=False, metadata=NOT_A_SETTING)
    """Replace the data set that mapopt wrote into the folder."""

    def kept(self) -> str:
        """Says what an interrupted command leaves behind."""
        return "Nothing was kept, and what was in the output folder before is still there."
