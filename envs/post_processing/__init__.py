"""The environment of post-processing: every step sets thresholds and limits on fixed raw outputs."""
