"""The properties that every part of a training has: detectors, controllers and optimizers, each a table of checks."""
