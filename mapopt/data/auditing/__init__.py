"""Finds what is wrong with a data set, without a model: boxes, label files, images, classes, and leaks between sets.

`mapopt.data.audit` is the way in; each module looks for one thing and returns findings.
"""
