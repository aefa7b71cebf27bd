"""Coalitions: an attacker who owns several devices."""
