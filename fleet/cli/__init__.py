"""The ``fleet`` command: parse, call, print. Nothing else prints, and nothing here computes."""
