"""Augmentation by kinds, each with a strength and a probability of its own, beside the one strength for all."""
