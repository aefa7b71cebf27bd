"""Tracing: on which device adversarial images were made."""
