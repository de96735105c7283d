"""What the commands on data sets print: how many images and objects each set has, and what is remarkable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mapopt.data.annotations import Annotations

if TYPE_CHECKING:
    from rich.table import Table

    from mapopt.data.writing import WrittenSets

_NAMES = {"coco": "COCO", "voc": "Pascal VOC", "yolo": "YOLO"}


def describe_written(written: WrittenSets) -> None:
    """Prints what was written, with the objects of each category in each set, and what is remarkable."""
    from rich.console import Console

    from mapopt.evaluation.text_tables import print_table

    print_table(objects_table(written.sets), Console())
    for note in written.notes:
        print(note)
    print(f"{_NAMES[written.layout]} in {written.folder}")


def objects_table(sets: Mapping[str, Annotations], *, title: str = "objects of each category") -> Table:
    """Returns a table of the objects of every category in every set; crowds are not counted."""
    from mapopt.evaluation.text_tables import new_table

    table = new_table(title)
    table.add_column("")
    for name in sets:
        table.add_column(name, justify="right")
    if len(sets) > 1:
        table.add_column("all", justify="right")
    counts = {name: dict(zip(notes.category_names, notes.counts.tolist(), strict=True)) for name, notes in sets.items()}
    for category in dict.fromkeys(category for named in counts.values() for category in named):
        row = [named.get(category, 0) for named in counts.values()]
        table.add_row(category, *map(str, row), *([str(sum(row))] if len(sets) > 1 else []))
    for what, row in (
        ("objects", [sum(named.values()) for named in counts.values()]),
        ("images", [len(notes) for notes in sets.values()]),
    ):
        table.add_row(f"[bold]{what}[/bold]", *map(str, row), *([str(sum(row))] if len(sets) > 1 else []))
    return table
