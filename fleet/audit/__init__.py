"""Audits: how much breaking one device gives against the others, and whether to believe it."""
