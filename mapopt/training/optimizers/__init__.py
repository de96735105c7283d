"""Optimizers over rows: each lane with its own rate, momentum and decay, read at every step.

torch's optimizers hold one rate per parameter group; here a rate is a column. The arithmetic is theirs, and a test
holds it to theirs.
"""
