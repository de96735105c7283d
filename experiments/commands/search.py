"""The command `mapopt search`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mapopt.devices import check_device
from mapopt.experiments.commands.compare import OnExperiment
from mapopt.fields import NOT_A_SETTING

if TYPE_CHECKING:
    from mapopt.experiments.comparison.options import Options


@dataclass(frozen=True, kw_only=True)
class Search(OnExperiment):
    """Search the settings of methods in the spaces that an experiment gives them, by val AP on seeds of their own.

    What is chosen is written into OUT/EXPERIMENT/searched.yaml, where `mapopt compare` reads it. Every run is kept in
    OUT/EXPERIMENT/searches the moment it is there, so a search that was stopped goes on with the others. Runs that
    other code made are refused until --accept-stored counts them or --redo trains them again.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "mapopt search --config losses --methods mal rank_sort --workers 2",
        "mapopt search --config default --methods baseline --beside-config",
        "mapopt search --config bccd --data PATH_OF_BCCD --methods mal_weighted --studies",
    )

    workers: int = 0
    """Processes; 0 takes one per core, and one on a GPU."""
    accept_stored: bool = field(default=False, metadata=NOT_A_SETTING)
    """Count kept runs that other code made (another version of mapopt or torch, or another kind of device)."""
    redo: bool = field(default=False, metadata=NOT_A_SETTING)
    """Train such runs again."""
    beside_config: bool = field(default=False, metadata=NOT_A_SETTING)
    """Write what was chosen beside the configuration's file, too, as NAME.searched.yaml, which is read with it."""
    studies: bool = field(default=False, metadata=NOT_A_SETTING)
    """Write all searches as studies of Optuna, too, into OUT/EXPERIMENT/studies.db, which its dashboard opens."""

    def run(self) -> None:
        """Searches."""
        check_device(self.device)
        self.settings()
        from mapopt.experiments.searching.search import search

        options: Options = {
            **self.options(),
            "accept_stored": self.accept_stored,
            "redo": self.redo,
            "workers": self.workers,
        }
        search(
            self.config,
            methods=self.methods,
            out=self.out,
            seed=self.seed,
            beside_config=self.beside_config,
            studies=self.studies,
            **options,
        )
