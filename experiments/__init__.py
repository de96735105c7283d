"""Experiments: methods of training compared at equal budget, with what it cost and how sure it is, and benchmarks.

An `Experiment` names tasks and methods; `compare` trains what its `Store` lacks and returns a `Summary`; `search` finds
the settings that a method's runs are trained with.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.experiments.comparison.compare import compare as compare
    from mapopt.experiments.comparison.compare import plot as plot
    from mapopt.experiments.comparison.config import Experiment as Experiment
    from mapopt.experiments.comparison.config import MethodConfig as MethodConfig
    from mapopt.experiments.comparison.config import load_experiment as load_experiment
    from mapopt.experiments.comparison.controllers import ControllerConfig as ControllerConfig
    from mapopt.experiments.comparison.store import Store as Store
    from mapopt.experiments.comparison.stored_run import StoredRun as StoredRun
    from mapopt.experiments.comparison.task_config import TaskConfig as TaskConfig
    from mapopt.experiments.reporting.report import summarize as summarize
    from mapopt.experiments.reporting.summary import MethodSummary as MethodSummary
    from mapopt.experiments.reporting.summary import Summary as Summary
    from mapopt.experiments.reporting.summary import TaskSummary as TaskSummary
    from mapopt.experiments.searching.outcome import SearchOutcome as SearchOutcome
    from mapopt.experiments.searching.search import search as search
    from mapopt.experiments.searching.settings import SearchConfig as SearchConfig
    from mapopt.experiments.searching.settings import Searched as Searched
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ControllerConfig": "mapopt.experiments.comparison.controllers",
            "Experiment": "mapopt.experiments.comparison.config",
            "MethodConfig": "mapopt.experiments.comparison.config",
            "MethodSummary": "mapopt.experiments.reporting.summary",
            "SearchConfig": "mapopt.experiments.searching.settings",
            "SearchOutcome": "mapopt.experiments.searching.outcome",
            "Searched": "mapopt.experiments.searching.settings",
            "Store": "mapopt.experiments.comparison.store",
            "StoredRun": "mapopt.experiments.comparison.stored_run",
            "Summary": "mapopt.experiments.reporting.summary",
            "TaskConfig": "mapopt.experiments.comparison.task_config",
            "TaskSummary": "mapopt.experiments.reporting.summary",
            "compare": "mapopt.experiments.comparison.compare",
            "load_experiment": "mapopt.experiments.comparison.config",
            "plot": "mapopt.experiments.comparison.compare",
            "search": "mapopt.experiments.searching.search",
            "summarize": "mapopt.experiments.reporting.report",
        },
    )
