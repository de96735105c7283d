"""Dense detectors: priors on a grid, assignment, losses, and the networks whose lanes train as one."""
