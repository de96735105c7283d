"""The former place of the evaluation, which scripts of the first version import; it is `mapopt.evaluation` now."""
