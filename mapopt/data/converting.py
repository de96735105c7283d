"""Writes a data set in another layout: COCO, Pascal VOC or YOLO; boxes stay as exact as the layout can say them."""

from __future__ import annotations

from pathlib import Path

from mapopt.data.folders import read_sets
from mapopt.data.invalid import Invalid
from mapopt.data.layouts import Layout
from mapopt.data.writing import Format, ImageFiles, WrittenSets, check_target, check_ways, write_sets
from mapopt.wording import speaks_python


@speaks_python
def convert(
    data: str | Path,
    out: str | Path,
    *,
    to: Format,
    layout: Layout = "auto",
    invalid: Invalid = "error",
    images: ImageFiles = "link",
    overwrite: bool = False,
) -> WrittenSets:
    """Writes a data set into a new folder, in another layout or the same: `mapopt convert` from Python.

    Sets, names of images and of categories, images without objects and every box are kept. What the layout cannot hold
    is said in `WrittenSets.notes`.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        out: the new folder.
        to: what to write: ``"coco"``, ``"voc"`` or ``"yolo"``.
        layout: what `data` is; ``"auto"`` finds out.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        images: ``"link"`` gives the image files another name (a hard link), ``"copy"`` copies them, ``"none"`` writes
            annotations alone.
        overwrite: replace the data set that mapopt wrote into `out`.

    Raises:
        DataError: the data cannot be read, or an image is missing.
        ConfigError: a setting is not possible, or `data` can be read in several ways.
        StoreError: `out` is not empty, or cannot be written.
    """
    check_ways(to, images)
    check_target(out, [data], overwrite=overwrite)
    sets = read_sets(data, layout=layout, invalid=invalid)
    return write_sets(sets, out, to=to, images=images, overwrite=overwrite, sources=[data])
