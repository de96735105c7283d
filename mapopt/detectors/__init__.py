"""Detectors: the dense one (tiny and ResNet-18), torchvision's behind the same face, and post-processing."""
