"""Post-processing: which of a detector's boxes are reported, and how good those are.

`postprocess` goes from a detector's raw outputs to the boxes it reports. A `CandidateSet` keeps the boxes of a split
before suppression, of ours or of any detector of torchvision's, and a `Scorer` says thousands of times a second how
good `PostProcessingSettings` are on it.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.postprocessing.apply import apply_settings as apply_settings
    from mapopt.postprocessing.boxes import Boxes as Boxes
    from mapopt.postprocessing.candidates import CandidateSet as CandidateSet
    from mapopt.postprocessing.options import PostProcessingOptions as PostProcessingOptions
    from mapopt.postprocessing.scorer import PostProcessingScore as PostProcessingScore
    from mapopt.postprocessing.scorer import Scorer as Scorer
    from mapopt.postprocessing.settings import PostProcessingSettings as PostProcessingSettings
    from mapopt.postprocessing.suppression import postprocess as postprocess
    from mapopt.postprocessing.suppression import suppress as suppress
    from mapopt.postprocessing.suppression import take_candidates as take_candidates
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Boxes": "mapopt.postprocessing.boxes",
            "CandidateSet": "mapopt.postprocessing.candidates",
            "PostProcessingOptions": "mapopt.postprocessing.options",
            "PostProcessingScore": "mapopt.postprocessing.scorer",
            "PostProcessingSettings": "mapopt.postprocessing.settings",
            "Scorer": "mapopt.postprocessing.scorer",
            "apply_settings": "mapopt.postprocessing.apply",
            "postprocess": "mapopt.postprocessing.suppression",
            "suppress": "mapopt.postprocessing.suppression",
            "take_candidates": "mapopt.postprocessing.suppression",
        },
    )
