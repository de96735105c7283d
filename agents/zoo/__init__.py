"""The agents that are shipped: two files each, with the command that made them in the JSON."""

from __future__ import annotations

from pathlib import Path

from mapopt.errors import AgentError, unknown_name

FOLDER = Path(__file__).parent

ZOO: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
"""Names of the shipped agents."""


def find_agent(name: str | Path) -> Path:
    """Returns the JSON file of an agent in the zoo, or at a path with or without its ending.

    Raises:
        AgentError: there is none.
    """
    bare = Path(name).name == str(name)
    for path in (Path(name), FOLDER / name if bare else Path(name)):
        described = path if path.suffix == ".json" else Path(f"{path}.json")
        if described.is_file():
            return described
    raise AgentError(f"{unknown_name('agent', str(name), ZOO)}; or give the path of an agent's .json file")
