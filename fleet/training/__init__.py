"""Fit a family of devices: losses, loop, checkpoints, resume."""
