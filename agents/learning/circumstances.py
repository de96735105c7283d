"""What the bits of a training depend on beside its settings: versions of packages, and the kind of processor."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("mapopt", "torch", "numpy", "stable-baselines3", "sb3-contrib")
"""Whose versions are noted."""


def circumstances() -> dict[str, str]:
    """Returns the version of every package that a training may use, and which processor computes it.

    >>> "torch" in circumstances()
    True
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except ImportError:  # which is what a package that is not installed is
            continue
    return {**versions, "processor": processor()}


def processor() -> str:
    """Returns the name of the processor and the instructions that torch uses of it, by which kernels are chosen."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
