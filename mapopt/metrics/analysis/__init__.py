"""Why AP is what it is: causes, thresholds, calibration, confusions, and how far AP may be off."""
