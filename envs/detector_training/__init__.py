"""The environment of detector training: every step sets knobs and trains an interval."""
