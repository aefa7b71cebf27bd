"""The paper's experiments again: from committed profiles to small JSON results."""
