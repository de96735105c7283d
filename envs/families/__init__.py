"""Families: where an environment's instances come from, numbered, described, and split into training and judging."""

from mapopt.envs.families.base import Instance, InstanceFamily, Side
from mapopt.envs.families.shapes import ShapesFamily

__all__ = ["Instance", "InstanceFamily", "ShapesFamily", "Side"]
