"""Training: what a run is about, what decides its knobs, the loop that plays it, and what it leaves behind.

A `Task` holds data and a `Recipe`; a `Trainer` (or a `Fleet` of many lanes) trains it; `run` plays a `Budget` of rounds
under a `Controller`, which sets the `Knobs` of each round from the history alone.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.training.autopilot import Autopilot as Autopilot
    from mapopt.training.budget import Budget as Budget
    from mapopt.training.budget import TaskInfo as TaskInfo
    from mapopt.training.checkpoint import Checkpoint as Checkpoint
    from mapopt.training.checkpoint import CheckpointFolder as CheckpointFolder
    from mapopt.training.controllers.autopilot import AutopilotController as AutopilotController
    from mapopt.training.controllers.base import Controller as Controller
    from mapopt.training.controllers.base import Decision as Decision
    from mapopt.training.controllers.feedback import GreedyLR as GreedyLR
    from mapopt.training.controllers.feedback import Hypergradient as Hypergradient
    from mapopt.training.controllers.fixed import Constant as Constant
    from mapopt.training.controllers.fixed import Replay as Replay
    from mapopt.training.controllers.fixed import Schedule as Schedule
    from mapopt.training.controllers.lookahead import BestOfN as BestOfN
    from mapopt.training.controllers.lookahead import Lookahead as Lookahead
    from mapopt.training.controllers.one_cycle import OneCycle as OneCycle
    from mapopt.training.controllers.planning import Planner as Planner
    from mapopt.training.controllers.population import MultiFrequencyPBT as MultiFrequencyPBT
    from mapopt.training.controllers.reactive import Patience as Patience
    from mapopt.training.controllers.reactive import Plateau as Plateau
    from mapopt.training.controllers.registry import CONTROLLERS as CONTROLLERS
    from mapopt.training.controllers.registry import make_controller as make_controller
    from mapopt.training.expected import expected_image_seconds as expected_image_seconds
    from mapopt.training.expected import expected_run_seconds as expected_run_seconds
    from mapopt.training.fleet import Fleet as Fleet
    from mapopt.training.fleet import Trainer as Trainer
    from mapopt.training.history import Interval as Interval
    from mapopt.training.history import Measure as Measure
    from mapopt.training.history import Round as Round
    from mapopt.training.history import Scores as Scores
    from mapopt.training.inference import LoadedDetector as LoadedDetector
    from mapopt.training.knob_space import KnobSpace as KnobSpace
    from mapopt.training.knobs import Knobs as Knobs
    from mapopt.training.knobs import Range as Range
    from mapopt.training.knobs import blend as blend
    from mapopt.training.knobs import ranges as ranges
    from mapopt.training.loop import RunResult as RunResult
    from mapopt.training.loop import advance as advance
    from mapopt.training.loop import run as run
    from mapopt.training.loop import run_fleet as run_fleet
    from mapopt.training.optimizers.base import RowOptimizer as RowOptimizer
    from mapopt.training.optimizers.registry import OPTIMIZERS as OPTIMIZERS
    from mapopt.training.optimizers.registry import make_optimizer as make_optimizer
    from mapopt.training.recipe import Recipe as Recipe
    from mapopt.training.record import ProgressPrinter as ProgressPrinter
    from mapopt.training.record import Recorder as Recorder
    from mapopt.training.record import describe_round as describe_round
    from mapopt.training.settings import TrainSettings as TrainSettings
    from mapopt.training.snapshots import Snapshot as Snapshot
    from mapopt.training.task import DataChange as DataChange
    from mapopt.training.task import Task as Task
    from mapopt.training.trained_detector import Prediction as Prediction
    from mapopt.training.trained_detector import TrainedDetector as TrainedDetector
    from mapopt.training.trained_run import TrainedRun as TrainedRun
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "Autopilot": "mapopt.training.autopilot",
            "AutopilotController": "mapopt.training.controllers.autopilot",
            "Budget": "mapopt.training.budget",
            "CONTROLLERS": "mapopt.training.controllers.registry",
            "Checkpoint": "mapopt.training.checkpoint",
            "CheckpointFolder": "mapopt.training.checkpoint",
            "Constant": "mapopt.training.controllers.fixed",
            "Controller": "mapopt.training.controllers.base",
            "DataChange": "mapopt.training.task",
            "Decision": "mapopt.training.controllers.base",
            "Fleet": "mapopt.training.fleet",
            "Interval": "mapopt.training.history",
            "KnobSpace": "mapopt.training.knob_space",
            "Knobs": "mapopt.training.knobs",
            "LoadedDetector": "mapopt.training.inference",
            "Measure": "mapopt.training.history",
            "OPTIMIZERS": "mapopt.training.optimizers.registry",
            "Patience": "mapopt.training.controllers.reactive",
            "Plateau": "mapopt.training.controllers.reactive",
            "OneCycle": "mapopt.training.controllers.one_cycle",
            "GreedyLR": "mapopt.training.controllers.feedback",
            "Hypergradient": "mapopt.training.controllers.feedback",
            "Lookahead": "mapopt.training.controllers.lookahead",
            "BestOfN": "mapopt.training.controllers.lookahead",
            "MultiFrequencyPBT": "mapopt.training.controllers.population",
            "Planner": "mapopt.training.controllers.planning",
            "ProgressPrinter": "mapopt.training.record",
            "Range": "mapopt.training.knobs",
            "Recipe": "mapopt.training.recipe",
            "Recorder": "mapopt.training.record",
            "Replay": "mapopt.training.controllers.fixed",
            "Round": "mapopt.training.history",
            "RowOptimizer": "mapopt.training.optimizers.base",
            "RunResult": "mapopt.training.loop",
            "Schedule": "mapopt.training.controllers.fixed",
            "Scores": "mapopt.training.history",
            "Snapshot": "mapopt.training.snapshots",
            "Prediction": "mapopt.training.trained_detector",
            "Task": "mapopt.training.task",
            "TrainSettings": "mapopt.training.settings",
            "TrainedDetector": "mapopt.training.trained_detector",
            "TrainedRun": "mapopt.training.trained_run",
            "TaskInfo": "mapopt.training.budget",
            "Trainer": "mapopt.training.fleet",
            "advance": "mapopt.training.loop",
            "blend": "mapopt.training.knobs",
            "describe_round": "mapopt.training.record",
            "expected_image_seconds": "mapopt.training.expected",
            "expected_run_seconds": "mapopt.training.expected",
            "make_controller": "mapopt.training.controllers.registry",
            "make_optimizer": "mapopt.training.optimizers.registry",
            "ranges": "mapopt.training.knobs",
            "run": "mapopt.training.loop",
            "run_fleet": "mapopt.training.loop",
        },
    )
