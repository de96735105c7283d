"""Families: where an environment's instances come from; numbered, described, to train agents on or to evaluate them."""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.envs.families.base import Instance as Instance
    from mapopt.envs.families.base import InstanceFamily as InstanceFamily
    from mapopt.envs.families.base import NumberedFamily as NumberedFamily
    from mapopt.envs.families.base import Shift as Shift
    from mapopt.envs.families.from_data import FromDataFamily as FromDataFamily
    from mapopt.envs.families.mixture import MixtureFamily as MixtureFamily
    from mapopt.envs.families.mixture import RecipesFamily as RecipesFamily
    from mapopt.envs.families.registry import FAMILIES as FAMILIES
    from mapopt.envs.families.registry import describe as describe
    from mapopt.envs.families.registry import make_family as make_family
    from mapopt.envs.families.rescue import MISTAKES as MISTAKES
    from mapopt.envs.families.rescue import Mistake as Mistake
    from mapopt.envs.families.rescue import RescueFamily as RescueFamily
    from mapopt.envs.families.scenes import ImbalancedFamily as ImbalancedFamily
    from mapopt.envs.families.scenes import NoisyLabelsFamily as NoisyLabelsFamily
    from mapopt.envs.families.scenes import SmallObjectsFamily as SmallObjectsFamily
    from mapopt.envs.families.shapes import SceneFamily as SceneFamily
    from mapopt.envs.families.shapes import ShapesFamily as ShapesFamily
    from mapopt.envs.families.shift import ShiftFamily as ShiftFamily
    from mapopt.envs.numbering import InstanceSplit as InstanceSplit
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "FAMILIES": "mapopt.envs.families.registry",
            "FromDataFamily": "mapopt.envs.families.from_data",
            "ImbalancedFamily": "mapopt.envs.families.scenes",
            "Instance": "mapopt.envs.families.base",
            "InstanceFamily": "mapopt.envs.families.base",
            "InstanceSplit": "mapopt.envs.numbering",
            "MISTAKES": "mapopt.envs.families.rescue",
            "Mistake": "mapopt.envs.families.rescue",
            "MixtureFamily": "mapopt.envs.families.mixture",
            "NoisyLabelsFamily": "mapopt.envs.families.scenes",
            "NumberedFamily": "mapopt.envs.families.base",
            "RecipesFamily": "mapopt.envs.families.mixture",
            "RescueFamily": "mapopt.envs.families.rescue",
            "SceneFamily": "mapopt.envs.families.shapes",
            "ShapesFamily": "mapopt.envs.families.shapes",
            "Shift": "mapopt.envs.families.base",
            "ShiftFamily": "mapopt.envs.families.shift",
            "SmallObjectsFamily": "mapopt.envs.families.scenes",
            "describe": "mapopt.envs.families.registry",
            "make_family": "mapopt.envs.families.registry",
        },
    )
