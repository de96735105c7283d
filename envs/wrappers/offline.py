"""Hands episodes over to Minari, the common store of data sets for offline reinforcement learning."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import gymnasium

from mapopt.envs.wrappers.episodes import Episodes
from mapopt.errors import ConfigError, StoreError


def to_minari(
    episodes: Episodes,
    name: str,
    env: gymnasium.Env,
    *,
    description: str,
    algorithm: str,
) -> Any:
    """Writes episodes as a Minari data set, into the folder that Minari keeps its data sets in.

    That folder is ``~/.minari/datasets``, or what the variable ``MINARI_DATASETS_PATH`` says.

    Args:
        episodes: what was played.
        name: of the data set, as Minari wants it, such as ``mapopt/detector-training/ppo-v0``.
        env: the environment that was logged, for its spaces.
        description: a sentence on what the data are.
        algorithm: what acted.

    Returns:
        The ``minari.MinariDataset``.

    Raises:
        ConfigError: Minari is not installed, its name is not one of Minari's, or there is no episode.
        StoreError: there is a data set of this name.

    Reference: O. Younis et al., "Minari", https://minari.farama.org.
    """
    if not len(episodes):
        raise ConfigError("there is no episode to write: play at least one to its end")
    try:
        minari = importlib.import_module("minari")
        importlib.import_module("h5py")
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'mapopt[offline]', or use Episodes.save"
        ) from None
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=place,
            seed=episode.seed,
            observations=episode.observations,
            actions=episode.actions,
            rewards=list(episode.rewards),
            terminations=list(episode.terminations),
            truncations=list(episode.truncations),
            # Minari pairs an info with every observation, and the first has none of a step's.
            infos={name: [float("nan"), *values.tolist()] for name, values in episode.infos.items()},
        )
        for place, episode in enumerate(episodes.episodes)
    ]
    with warnings.catch_warnings():
        # Minari asks for an author and a link to the code; whoever publishes the data adds them.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return minari.create_dataset_from_buffers(
                dataset_id=name,
                buffer=buffers,
                observation_space=env.observation_space,
                action_space=env.action_space,
                algorithm_name=algorithm,
                description=description,
                data_format="hdf5",
            )
        except ValueError as error:
            if "already exists" in str(error):
                raise StoreError(f"Minari has a data set {name} already: choose another name or version") from None
            raise ConfigError(f"Minari does not take the data set {name}: {error}") from None
