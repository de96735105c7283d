"""The agents that are shipped: two files each, with the command that made them in the JSON."""

from __future__ import annotations

from pathlib import Path

from mapopt.errors import AgentError, ConfigError, unknown_name
from mapopt.paths import check_path

FOLDER = Path(__file__).parent

ZOO: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
"""Names of the shipped agents."""


def find_agent(name: str | Path) -> Path:
    """Returns the JSON file of an agent in the zoo, or at a path with or without its ending.

    Raises:
        AgentError: there is none.
    """
    try:
        check_path(name)
    except ConfigError as error:
        raise AgentError(f"{error}; or give the name of an agent: {', '.join(ZOO)}") from None
    bare = Path(name).name == str(name)
    for path in (Path(name), FOLDER / name if bare else Path(name)):
        described = path if path.suffix == ".json" else Path(f"{path}.json")
        if described.is_file():
            return described
    raise AgentError(f"{unknown_name('agent', str(name), ZOO)}; or give the path of an agent's .json file")
