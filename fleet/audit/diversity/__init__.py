"""Diversity: what orders, lengths, methods and seeds bought, and what fails together."""
