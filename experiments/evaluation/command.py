"""The former place of the command `mapopt evaluate`, which scripts of the first version import."""

from __future__ import annotations

from mapopt.commands.evaluate import Evaluate

__all__ = ["Evaluate"]
