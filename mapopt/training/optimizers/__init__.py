"""Optimizers over rows: each lane with its own learning rate, momentum and decay, read at every step.

torch's optimizers hold one learning rate per parameter group; here it is a column. The arithmetic is theirs, and a test
holds it to theirs.
"""
