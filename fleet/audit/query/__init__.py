"""Queries: an attacker who asks a device that he does not own."""
