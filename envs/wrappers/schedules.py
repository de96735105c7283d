"""Writes down what was decided in an episode, so that it can be replayed as a schedule that looks at nothing.

What an agent gains is measured against the replay of its own decisions, so a recording is a controller's input:
`RecordedSchedule.replay` gives a controller that trains the same weights, bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from mapopt.envs.families import FAMILIES, InstanceFamily, NumberedFamily
from mapopt.envs.families.base import plain_settings
from mapopt.errors import ConfigError, MapoptError, StoreError, shown
from mapopt.files import write_record
from mapopt.former_names import translate, translate_description
from mapopt.registry import texts_in
from mapopt.settings import from_mapping
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import SCHEDULE_FORMAT, SCHEDULE_VERSION, Replay, read_schedule


@dataclass(frozen=True, kw_only=True)
class RecordedSchedule:
    """The decisions of one episode, with what they led to."""

    instance: int
    """Number of the instance in its family."""
    family: str
    """Name of the family in `mapopt.envs.FAMILIES`; of somebody's own ``module:attribute``, or its class's name."""
    split: str
    """"train" or "eval": what the family's instances are for."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The family's settings, its split among them, where it is a dataclass of plain values."""
    seed: int
    """Of the training."""
    description: str
    """Of the instance."""
    budget: Budget
    decisions: tuple[Decision, ...]
    """One per round."""
    val_ap: tuple[float, ...]
    """After each round."""

    def replay(self) -> Replay:
        """Returns the controller that repeats these decisions."""
        return Replay(self.decisions)

    def make_family(self) -> NumberedFamily:
        """Makes the family that the instance belongs to; nothing is imported because a recording names it.

        Raises:
            ConfigError: the family, or a part of its recipe, is somebody's own.
            DataError: the family's data cannot be used.
        """
        if self.family not in FAMILIES:
            raise ConfigError(
                f"the schedule was recorded on an instance of {self.family}, which is none of "
                f"{', '.join(FAMILIES)}: name the family to use"
            )
        own = sorted(texts_in({name: value for name, value in self.settings.items() if name != "path"}))
        if own:
            raise ConfigError(
                f"the schedule was recorded with {', '.join(own)}, which a recording does not import: make the family "
                "yourself, and give it"
            )
        return from_mapping(FAMILIES[self.family], self.settings, "the recorded family")

    def save(self, path: str | Path) -> None:
        """Writes a JSON file in one step; numbers keep all their bits.

        Raises:
            StoreError: the file cannot be written.
        """
        record = {
            "format": SCHEDULE_FORMAT,
            "version": SCHEDULE_VERSION,
            "family": self.family,
            "split": self.split,
            "settings": dict(self.settings),
            "instance": self.instance,
            "seed": self.seed,
            "description": self.description,
            "budget": {"images": self.budget.images, "rounds": self.budget.rounds},
            "val_ap": list(self.val_ap),
            "decisions": [decision.as_dict() for decision in self.decisions],
        }
        write_record(path, record)

    @classmethod
    def load(cls, path: str | Path) -> RecordedSchedule:
        """Reads what `save` wrote.

        Raises:
            StoreError: there is no such file, or it is not a recorded schedule of this version.
        """
        record = translate(read_schedule(path), "schedule")
        try:
            return cls(
                family=str(record["family"]),
                split=str(record["split"]),
                settings=dict(record["settings"]),
                instance=int(record["instance"]),
                seed=int(record["seed"]),
                description=translate_description(str(record["description"])),
                budget=Budget(**record["budget"]),
                decisions=tuple(Decision.from_dict(decision) for decision in record["decisions"]),
                val_ap=tuple(float(ap) for ap in record["val_ap"]),
            )
        except (KeyError, TypeError, ValueError, MapoptError) as error:
            raise StoreError(f"{path}: a damaged schedule ({shown(error)}). Record it again.") from None


class RecordSchedule(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Records the decisions of every episode that is played to its end.

    There is none for vector environments: they forget an episode's decisions in the step that ends it.
    `VectorEpisodeLog` keeps their actions.

    An episode that was put into the environment as a copied state (`set_state`) is recorded whole, with the rounds
    before the copy. Beneath `RelativeToBaseline` the baseline's episodes are recorded like the others.

    Args:
        env: ``mapopt/DetectorTraining-v0``, under any wrappers.
        folder: gets ``episode-000000.json``, ``episode-000001.json``, ...; files of these names are replaced. None
            writes nothing.
        kept: how many of the last episodes stay in `recordings`.

    Raises:
        ConfigError: the environment is another one, or `kept` is negative.
        StoreError: at the end of an episode: the file cannot be written.

    >>> import gymnasium, mapopt.envs
    >>> env = RecordSchedule(gymnasium.make("mapopt/DetectorTraining-v0"))
    >>> len(env.recordings)
    0
    """

    def __init__(self, env: gymnasium.Env, folder: str | Path | None = None, *, kept: int = 16) -> None:
        RecordConstructorArgs.__init__(self, folder=folder, kept=kept)
        gymnasium.Wrapper.__init__(self, env)
        if not hasattr(env.unwrapped, "lanes"):
            raise ConfigError(
                f"{env.unwrapped} trains nothing, so has no schedule: expected mapopt/DetectorTraining-v0"
            )
        if kept < 0:
            raise ConfigError(f"kept is {kept}: expected 0 or more")
        self.recordings: deque[RecordedSchedule] = deque(maxlen=kept)
        """The last episodes, the newest at the end."""
        self._folder = None if folder is None else Path(folder)
        self._ended = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Plays a round; after the last one the recording is there."""
        result = self.env.step(action)
        if result[2] or result[3]:
            self._record()
        return result

    def _record(self) -> None:
        lanes = self.unwrapped.lanes  # type: ignore[attr-defined]
        history, start, family = lanes.histories[0], lanes.start_of(0), lanes.family
        recording = RecordedSchedule(
            family=_name_of(family),
            split=family.split,
            settings=_settings_of(family),
            instance=start.instance,
            seed=start.seed,
            description=str(lanes.instances[0]),
            budget=lanes.budget_of(0),
            decisions=Replay.of(history).decisions,
            val_ap=tuple(played.val.ap for played in history),
        )
        self.recordings.append(recording)
        if self._folder is not None:
            recording.save(self._folder / f"episode-{self._ended:06d}.json")
        self._ended += 1


def _name_of(family: InstanceFamily) -> str:
    cls = type(family)
    try:
        return FAMILIES.choice(cls).name
    except ConfigError:  # defined where nothing can import it from
        return cls.__name__


def _settings_of(family: InstanceFamily) -> dict[str, Any]:
    """Returns a family's settings as plain values; nothing of one that has others."""
    settings: dict[str, Any] = plain_settings(family) if dataclasses.is_dataclass(family) else {}
    try:
        return dict(json.loads(json.dumps(settings)))
    except TypeError:
        return {}
