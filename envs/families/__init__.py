"""Families: where an environment's instances come from: numbered, described, to train agents on or to judge them by."""

from mapopt.envs.families.base import Instance, InstanceFamily, NumberedFamily
from mapopt.envs.families.from_data import FromDataFamily
from mapopt.envs.families.registry import FAMILIES, describe, make_family
from mapopt.envs.families.rescue import MISTAKES, Mistake, RescueFamily
from mapopt.envs.families.scenes import ImbalancedFamily, NoisyLabelsFamily, SmallObjectsFamily
from mapopt.envs.families.shapes import SceneFamily, ShapesFamily
from mapopt.envs.numbering import InstanceSplit

__all__ = [
    "FAMILIES",
    "MISTAKES",
    "FromDataFamily",
    "ImbalancedFamily",
    "Instance",
    "InstanceFamily",
    "InstanceSplit",
    "Mistake",
    "NoisyLabelsFamily",
    "NumberedFamily",
    "RescueFamily",
    "SceneFamily",
    "ShapesFamily",
    "SmallObjectsFamily",
    "describe",
    "make_family",
]
