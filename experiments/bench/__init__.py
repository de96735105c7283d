"""Benchmarks: what losses, evaluators, fleets and environments cost beside their alternatives in one run."""
