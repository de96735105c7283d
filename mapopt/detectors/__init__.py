"""Detectors behind one interface: lanes of weights in one matrix, a loss per lane, boxes per lane.

`build_detector` builds one of `DETECTORS`, or one of your own: a class that inherits from `Detector`, or any module
with torchvision's calling convention. An `Objective` says what it minimizes. `replace_class_loss` needs none of this:
it puts a loss of ours into a detector of torchvision's, in anybody's training script.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.detectors.assignments import ASSIGNMENTS as ASSIGNMENTS
    from mapopt.detectors.assignments import Assigner as Assigner
    from mapopt.detectors.dense.detector import DenseDetector as DenseDetector
    from mapopt.detectors.dense.detector import Network as Network
    from mapopt.detectors.dense.geometry import Assignment as Assignment
    from mapopt.detectors.dense.geometry import Priors as Priors
    from mapopt.detectors.dense.losses import DenseLoss as DenseLoss
    from mapopt.detectors.dense.resnet import ResNetNetwork as ResNetNetwork
    from mapopt.detectors.dense.tiny import TinyNetwork as TinyNetwork
    from mapopt.detectors.drop_in import replace_class_loss as replace_class_loss
    from mapopt.detectors.drop_in import restore_class_loss as restore_class_loss
    from mapopt.detectors.drop_in import weigh_class_loss as weigh_class_loss
    from mapopt.detectors.interface import Detector as Detector
    from mapopt.detectors.interface import KnobTable as KnobTable
    from mapopt.detectors.interface import Targets as Targets
    from mapopt.detectors.module import ModuleDetector as ModuleDetector
    from mapopt.detectors.objective import Objective as Objective
    from mapopt.detectors.own import from_module as from_module
    from mapopt.detectors.registry import DETECTORS as DETECTORS
    from mapopt.detectors.registry import build_detector as build_detector
    from mapopt.detectors.registry import supports_lanes as supports_lanes
    from mapopt.detectors.request import DetectorBuilder as DetectorBuilder
    from mapopt.detectors.request import DetectorKind as DetectorKind
    from mapopt.detectors.request import DetectorRequest as DetectorRequest
    from mapopt.detectors.torchvision import TorchvisionDetector as TorchvisionDetector
    from mapopt.postprocessing.boxes import Boxes as Boxes
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ASSIGNMENTS": "mapopt.detectors.assignments",
            "Assigner": "mapopt.detectors.assignments",
            "Assignment": "mapopt.detectors.dense.geometry",
            "Boxes": "mapopt.postprocessing.boxes",
            "DETECTORS": "mapopt.detectors.registry",
            "DenseDetector": "mapopt.detectors.dense.detector",
            "DenseLoss": "mapopt.detectors.dense.losses",
            "Detector": "mapopt.detectors.interface",
            "DetectorBuilder": "mapopt.detectors.request",
            "DetectorKind": "mapopt.detectors.request",
            "DetectorRequest": "mapopt.detectors.request",
            "KnobTable": "mapopt.detectors.interface",
            "ModuleDetector": "mapopt.detectors.module",
            "Network": "mapopt.detectors.dense.detector",
            "Objective": "mapopt.detectors.objective",
            "Priors": "mapopt.detectors.dense.geometry",
            "ResNetNetwork": "mapopt.detectors.dense.resnet",
            "Targets": "mapopt.detectors.interface",
            "TinyNetwork": "mapopt.detectors.dense.tiny",
            "TorchvisionDetector": "mapopt.detectors.torchvision",
            "build_detector": "mapopt.detectors.registry",
            "from_module": "mapopt.detectors.own",
            "replace_class_loss": "mapopt.detectors.drop_in",
            "restore_class_loss": "mapopt.detectors.drop_in",
            "weigh_class_loss": "mapopt.detectors.drop_in",
            "supports_lanes": "mapopt.detectors.registry",
        },
    )
