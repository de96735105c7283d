"""Images and annotations: readers and writers, sets at one size, splits, and procedural scenes.

`ImageSet` is what a trainer reads, `Splits` what a task is made of; `load_splits` makes them from a folder and
`make_shapes_splits` from a seed. `Annotations` is the one form in between, which every format is read into.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.data.annotations import Annotations as Annotations
    from mapopt.data.auditing.audit import Audit as Audit
    from mapopt.data.auditing.audit import audit as audit
    from mapopt.data.auditing.findings import KINDS as KINDS
    from mapopt.data.auditing.findings import Finding as Finding
    from mapopt.data.auditing.mending import mend as mend
    from mapopt.data.augmentation.settings import Augmentation as Augmentation
    from mapopt.data.coco import read_coco as read_coco
    from mapopt.data.coco import write_coco as write_coco
    from mapopt.data.converting import convert as convert
    from mapopt.data.crops import Windows as Windows
    from mapopt.data.crops import read_crops as read_crops
    from mapopt.data.datasets import DetectionDataset as DetectionDataset
    from mapopt.data.datasets import images_from_dataset as images_from_dataset
    from mapopt.data.datasets import splits_from_datasets as splits_from_datasets
    from mapopt.data.dicts import annotations_from_dicts as annotations_from_dicts
    from mapopt.data.faults import FAULTS as FAULTS
    from mapopt.data.faults import Fault as Fault
    from mapopt.data.faults import mislabel as mislabel
    from mapopt.data.folders import read_sets as read_sets
    from mapopt.data.images import ImageSet as ImageSet
    from mapopt.data.images import Targets as Targets
    from mapopt.data.invalid import Invalid as Invalid
    from mapopt.data.invalid import settle_boxes as settle_boxes
    from mapopt.data.layouts import Layout as Layout
    from mapopt.data.layouts import Part as Part
    from mapopt.data.layouts import read_part as read_part
    from mapopt.data.loading import load_splits as load_splits
    from mapopt.data.merging import MergedSets as MergedSets
    from mapopt.data.merging import merge as merge
    from mapopt.data.palette import category_color as category_color
    from mapopt.data.pixels import read_image as read_image
    from mapopt.data.results import read_results as read_results
    from mapopt.data.results import write_results as write_results
    from mapopt.data.shapes import make_shapes as make_shapes
    from mapopt.data.shapes import make_shapes_splits as make_shapes_splits
    from mapopt.data.shapes_config import MAX_SEED as MAX_SEED
    from mapopt.data.shapes_config import ShapesConfig as ShapesConfig
    from mapopt.data.siblings import source_of as source_of
    from mapopt.data.splits import Splits as Splits
    from mapopt.data.splitting import SplitSettings as SplitSettings
    from mapopt.data.splitting import divide_set as divide_set
    from mapopt.data.splitting import split as split
    from mapopt.data.voc import read_voc as read_voc
    from mapopt.data.voc import write_voc as write_voc
    from mapopt.data.writing import WrittenSets as WrittenSets
    from mapopt.data.writing import write_sets as write_sets
    from mapopt.data.yolo import read_yolo as read_yolo
    from mapopt.data.yolo import write_yolo as write_yolo
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Annotations": "mapopt.data.annotations",
            "Augmentation": "mapopt.data.augmentation.settings",
            "Audit": "mapopt.data.auditing.audit",
            "audit": "mapopt.data.auditing.audit",
            "KINDS": "mapopt.data.auditing.findings",
            "Finding": "mapopt.data.auditing.findings",
            "mend": "mapopt.data.auditing.mending",
            "read_coco": "mapopt.data.coco",
            "write_coco": "mapopt.data.coco",
            "convert": "mapopt.data.converting",
            "Windows": "mapopt.data.crops",
            "read_crops": "mapopt.data.crops",
            "DetectionDataset": "mapopt.data.datasets",
            "images_from_dataset": "mapopt.data.datasets",
            "splits_from_datasets": "mapopt.data.datasets",
            "annotations_from_dicts": "mapopt.data.dicts",
            "FAULTS": "mapopt.data.faults",
            "Fault": "mapopt.data.faults",
            "mislabel": "mapopt.data.faults",
            "read_sets": "mapopt.data.folders",
            "ImageSet": "mapopt.data.images",
            "Targets": "mapopt.data.images",
            "Invalid": "mapopt.data.invalid",
            "settle_boxes": "mapopt.data.invalid",
            "Layout": "mapopt.data.layouts",
            "Part": "mapopt.data.layouts",
            "read_part": "mapopt.data.layouts",
            "load_splits": "mapopt.data.loading",
            "MergedSets": "mapopt.data.merging",
            "merge": "mapopt.data.merging",
            "category_color": "mapopt.data.palette",
            "read_image": "mapopt.data.pixels",
            "read_results": "mapopt.data.results",
            "write_results": "mapopt.data.results",
            "make_shapes": "mapopt.data.shapes",
            "make_shapes_splits": "mapopt.data.shapes",
            "MAX_SEED": "mapopt.data.shapes_config",
            "ShapesConfig": "mapopt.data.shapes_config",
            "source_of": "mapopt.data.siblings",
            "Splits": "mapopt.data.splits",
            "SplitSettings": "mapopt.data.splitting",
            "divide_set": "mapopt.data.splitting",
            "split": "mapopt.data.splitting",
            "read_voc": "mapopt.data.voc",
            "write_voc": "mapopt.data.voc",
            "WrittenSets": "mapopt.data.writing",
            "write_sets": "mapopt.data.writing",
            "read_yolo": "mapopt.data.yolo",
            "write_yolo": "mapopt.data.yolo",
        },
    )
