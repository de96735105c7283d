"""Why is the mAP low: checks of a run's settings, images, rounds and detections, with figures and a change to try."""
