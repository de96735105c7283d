"""Finds what is wrong with labels by what detectors see, and says what each fault costs.

`audit_labels` is the way in; what is found without a model is `mapopt.data.audit`'s.
"""
