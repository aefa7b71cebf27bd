"""Queries: an attacker who asks a device that they do not own."""
