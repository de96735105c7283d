"""Optimize detection mAP directly: ranking surrogates, reinforcement learning, and a baseline to compare with.

`train`, `load`, `audit`, `evaluate`, `diagnose`, `export` and `compare` do what the commands of these names do; the
sub-packages hold the parts, each one level deep: ``from mapopt.losses import RankSortLoss``. Importing this package
imports nothing else: what is asked for is imported then.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mapopt import agents as agents
    from mapopt import data as data
    from mapopt import detectors as detectors
    from mapopt import drawing as drawing
    from mapopt import envs as envs
    from mapopt import evaluation as evaluation
    from mapopt import experiments as experiments
    from mapopt import losses as losses
    from mapopt import metrics as metrics
    from mapopt import postprocessing as postprocessing
    from mapopt import training as training
    from mapopt.data.auditing.audit import audit as audit
    from mapopt.errors import MapoptError as MapoptError
    from mapopt.experiments.comparison.compare import compare as compare
    from mapopt.metrics import evaluate as evaluate
    from mapopt.training.exporting import export as export
    from mapopt.verbs import diagnose as diagnose
    from mapopt.verbs import load as load
    from mapopt.verbs import train as train
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "MapoptError": "mapopt.errors",
            "agents": "mapopt",
            "audit": "mapopt.data.auditing.audit",
            "compare": "mapopt.experiments.comparison.compare",
            "data": "mapopt",
            "detectors": "mapopt",
            "diagnose": "mapopt.verbs",
            "drawing": "mapopt",
            "envs": "mapopt",
            "evaluate": "mapopt.metrics",
            "evaluation": "mapopt",
            "experiments": "mapopt",
            "load": "mapopt.verbs",
            "export": "mapopt.training.exporting",
            "losses": "mapopt",
            "metrics": "mapopt",
            "postprocessing": "mapopt",
            "train": "mapopt.verbs",
            "training": "mapopt",
        },
    )
