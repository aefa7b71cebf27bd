"""Certify: what no attacker can do, whoever they are and however many devices they hold."""
