"""The transfer audit: each device's images tried on all others."""
